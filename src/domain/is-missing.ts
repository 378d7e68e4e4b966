/** Whether what was asked for is not there: a file, a folder, a program. */
export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}

/** For the `catch` of a promise where that is no failure. */
export function ignoreMissing(error: unknown): undefined {
  if (!isMissing(error)) throw error
}
