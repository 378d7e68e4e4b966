import { WireError } from './wire-error.ts'

/* Fields of what a guest says. Each throws a WireError `json` that names message and field. */

/** The payload as a JSON object. */
export function object(message: string, payload: Buffer): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(payload.toString())
  } catch {
    throw bad(message, 'payload must be JSON')
  }
  if (!isRecord(value)) throw bad(message, 'payload must be a JSON object')
  return value
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function string(message: string, fields: Record<string, unknown>, name: string, lengthMax: number): string {
  const value = fields[name]
  if (typeof value !== 'string' || value.length > lengthMax)
    throw bad(message, `${name} must be a string of at most ${lengthMax} characters`)
  return value
}

export function number(message: string, fields: Record<string, unknown>, name: string): number {
  const value = fields[name]
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0)
    throw bad(message, `${name} must be a number from 0`)
  return value
}

export function bad(message: string, what: string): WireError {
  return new WireError('json', `${message}: ${what}.`)
}
