/** The fields of a package.json; none of what is no JSON: npm says so better. */
export function parsePackageJson(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}
