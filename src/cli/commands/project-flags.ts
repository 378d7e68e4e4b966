import type { Arguments, Flags, Input } from '../command.ts'

/** Quotas of a project, for `create` and `update`. */
export const quotaFlags = {
  'max-functions': { type: 'integer', value: 'N', about: 'functions that it may hold, 0-100000 (default: 10000)' },
  'max-concurrency': {
    type: 'integer',
    value: 'N',
    about: 'invocations of all its functions at the same time, 1-100000 (default: 1000)',
  },
} as const satisfies Flags

/** Those that are given, as the API calls them. */
export function declaredQuotas(flags: Input<Arguments, typeof quotaFlags>['flags']): {
  functionsMax?: number
  concurrencyMax?: number
} {
  const { 'max-functions': functionsMax, 'max-concurrency': concurrencyMax } = flags
  return {
    ...(functionsMax !== undefined && { functionsMax }),
    ...(concurrencyMax !== undefined && { concurrencyMax }),
  }
}
