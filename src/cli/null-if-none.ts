/** For `catch`: null where the platform has no such thing (yet); every other error goes on. */
export function nullIfNone(error: unknown): null {
  if (error instanceof Error && 'code' in error && error.code === 'not_found') return null
  throw error
}
