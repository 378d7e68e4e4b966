/** The one table of exit codes: what the platform refused with, or how an invocation ended. Twin: docs/reference/contracts.md. */
export const exitCodes = {
  ok: 0,
  succeeded: 0,
  failed: 1,
  guest_failed: 1,
  cancelled: 1,
  invalid: 2,
  unauthorized: 3,
  forbidden: 3,
  not_found: 4,
  conflict: 5,
  capacity: 6,
  rejected: 6,
  timeout: 7,
  timed_out: 7,
  expired: 7,
  crashed: 8,
  driver_failed: 9,
  internal: 9,
} as const

/** What each exit code means, for `--help` and the reference page. */
export const exitCodeMeanings: readonly (readonly [number, string])[] = [
  [0, 'ok'],
  [1, 'the function failed'],
  [2, 'usage, or an invalid value'],
  [3, 'unauthorized or forbidden'],
  [4, 'not found'],
  [5, 'conflict'],
  [6, 'no capacity'],
  [7, 'timeout'],
  [8, 'the function crashed'],
  [9, 'internal error, or no platform reached'],
]

/** Exit code of an error code or outcome; one that is not known yet is internal. */
export function exitCodeOf(name: string): number {
  return Object.hasOwn(exitCodes, name) ? exitCodes[name as keyof typeof exitCodes] : exitCodes.internal
}
