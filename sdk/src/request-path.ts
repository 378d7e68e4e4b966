import { HearthError } from './hearth-error.ts'

/** Of the platform's storage keys, `limits.storage.keyBytesMax`. */
const keyBytesMax = 1024
const segmentAllowed = 'a text that is neither empty nor "." or ".."'

/** The path of a route of the contract table with its parameters filled in, and their names. Throws HearthError: what a URL would read as a step
 *  (`.`, `..`, nothing at all), as fetch takes such steps and the call would reach another route. */
export function requestPath(
  template: string,
  args: Readonly<Record<string, unknown>>,
): { path: string; used: ReadonlySet<string> } {
  const used = new Set<string>()
  const path = template.replace(/\{(\w+)(\.{3})?\}/g, (_, name: string, dots?: string) => {
    used.add(name)
    const value = typeof args[name] === 'number' ? String(args[name]) : args[name]
    const isRest = dots !== undefined
    const allowed = isRest ? brokenKeyRule(value) : brokenSegmentRule(value)
    if (typeof value !== 'string' || allowed !== null) throw refusal(name, value, allowed ?? segmentAllowed)
    return isRest ? value.split('/').map(encodeURIComponent).join('/') : encodeURIComponent(value)
  })
  return { path, used }
}

/** What a parameter of one segment must be and `value` is not; null when it is that. */
function brokenSegmentRule(value: unknown): string | null {
  const isSegment = typeof value === 'string' && value.isWellFormed() && !['', '.', '..'].includes(value)
  return isSegment ? null : segmentAllowed
}

/** What a key must be and this is not, in the words of the platform's own `checkKey`; null when it is that. */
function brokenKeyRule(key: unknown): string | null {
  const bytes = typeof key === 'string' ? Buffer.byteLength(key) : 0
  if (typeof key !== 'string' || bytes === 0 || bytes > keyBytesMax) return `1 to ${keyBytesMax} bytes of UTF-8`
  if (!key.isWellFormed() || /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/u.test(key))
    return 'a text without control characters'
  if (key.split('/').some((part) => ['', '.', '..'].includes(part)))
    return 'parts between slashes that are neither empty nor "." or ".."'
  return null
}

function refusal(field: string, given: unknown, allowed: string): HearthError {
  const value = typeof given === 'string' && given.length > 200 ? `${given.slice(0, 200)}...` : given
  const quoted = JSON.stringify(value) ?? typeof value
  const shown = quoted.length > 120 ? `${quoted.slice(0, 117)}...` : quoted
  const message = `Invalid ${field} ${shown}: must be ${allowed}.`
  return new HearthError(400, { code: 'invalid', retryable: false, field, value, allowed, message })
}
