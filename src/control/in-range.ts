import { invalid } from '../domain/error.ts'

/** `value` where it is a whole number within the range. Throws invalid, naming field, value and range. */
export function inRange(field: string, value: unknown, { min, max }: { min: number; max: number }): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max)
    throw invalid(field, value, `a whole number from ${min} to ${max}`)
  return value
}
