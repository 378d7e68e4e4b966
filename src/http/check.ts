import type { z } from 'zod'
import { invalid } from '../domain/error.ts'
import { nearest } from '../domain/nearest.ts'
import { allowedAt } from './allowed-at.ts'

const valueCharsMax = 200

/** `input` by its schema of the contract table; `where` (path, query, body) names what has no field. Throws invalid, naming the first field
 *  that does not fit, with its value unless that is a secret, and what it takes. */
export function check(schema: z.ZodType | undefined, input: unknown, where: string, isSecret = false): unknown {
  if (schema === undefined) return {}
  const parsed = schema.safeParse(input)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const path = issue?.path ?? []
  const allowed = allowedAt(schema, path)
  if (issue?.code === 'unrecognized_keys') throw unknownField([...path, issue.keys[0] ?? ''], allowed.fields)
  const field = path.length === 0 ? where : path.join('.')
  const value = isSecret ? undefined : valueAt(input, path)
  // The schema's own words, where it has them.
  const own = issue?.message.startsWith('must be ') === true ? issue.message.slice('must be '.length) : null
  const text = own ?? allowed.text
  if (isMissing(input, path)) throw invalid(field, undefined, text, `Missing ${field}: give ${text}.`)
  const quoted = value === undefined ? '' : ` ${quote(value)}`
  throw invalid(field, value, text, `Invalid ${field}${quoted}: must be ${text}.`)
}

function unknownField(path: readonly PropertyKey[], known: readonly string[]): Error {
  const field = path.join('.')
  const meant = nearest(String(path.at(-1)), known)
  const hint = meant === undefined ? '' : ` Did you mean ${meant}?`
  const fields = known.length === 0 ? 'left out' : `left out; known here: ${known.join(', ')}`
  const rest = known.length === 0 ? '' : ` Known here: ${known.join(', ')}.`
  return invalid(field, undefined, fields, `Invalid ${field}: there is no such field.${hint === '' ? rest : hint}`)
}

function isMissing(input: unknown, path: readonly PropertyKey[]): boolean {
  return path.length > 0 && at(input, path) === undefined
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  const value = at(input, path)
  return typeof value === 'string' && value.length > valueCharsMax ? `${value.slice(0, valueCharsMax)}...` : value
}

function at(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input
  for (const part of path)
    value = typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[part] : undefined
  return value
}

/** JSON has no word for what is too large for it. */
function quote(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : JSON.stringify(value)
  return text.length > valueCharsMax + 5 ? `${text.slice(0, valueCharsMax)}...` : text
}
