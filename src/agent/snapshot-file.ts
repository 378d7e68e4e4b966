import { AppError } from '../domain/error.ts'
import type { Digest } from '../domain/artifact.ts'
import type { Snapshot } from '../domain/snapshot.ts'
import type { SnapshotSubject } from './snapshot-shelf.ts'

/* What lies in a snapshot's folder, parsed: whoever restores it goes by its key and its memory. */

type Fields = Readonly<Record<string, unknown>>

/** The snapshot that `text` describes; it lies in `folder` now. Throws invalid, naming the field that is wrong. */
export function parseSnapshot(text: string, folder: string): Snapshot {
  const fields = fieldsOf(JSON.parse(text), 'all of it')
  const { kind } = fields
  if (kind !== 'runtime' && kind !== 'function') throw damaged('kind', 'runtime or function')
  const parts = fieldsOf(fields['key'], 'key')
  return {
    id: textOf(fields, 'id'),
    driver: textOf(fields, 'driver'),
    kind,
    key: Object.fromEntries(Object.keys(parts).map((name) => [name, textOf(parts, name)])),
    folder,
    memoryMib: countOf(fields, 'memoryMib'),
    bytes: countOf(fields, 'bytes'),
    createdAt: countOf(fields, 'createdAt'),
  }
}

/** What a snapshot was made for, and how long its files were when it was. Throws invalid, naming the field that is wrong. */
export function parseMark(text: string): SnapshotSubject & { readonly files: Readonly<Record<string, number>> } {
  const fields = fieldsOf(JSON.parse(text), 'all of it')
  const { build, owner } = fields
  if (!isDigest(build)) throw damaged('build', 'a digest (sha256:...)')
  const lengths = fieldsOf(fields['files'], 'files')
  const files = Object.fromEntries(Object.keys(lengths).map((name) => [name, countOf(lengths, name)]))
  return { owner: owner === null ? null : textOf(fields, 'owner'), runtime: textOf(fields, 'runtime'), build, files }
}

function isDigest(value: unknown): value is Digest {
  return typeof value === 'string' && /^sha256:[0-9a-f]{64}$/.test(value)
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function fieldsOf(value: unknown, field: string): Fields {
  if (isFields(value)) return value
  throw damaged(field, 'an object')
}

function textOf(fields: Fields, field: string): string {
  const value = fields[field]
  if (typeof value === 'string' && value.length > 0) return value
  throw damaged(field, 'a text')
}

function countOf(fields: Fields, field: string): number {
  const value = fields[field]
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw damaged(field, 'a whole number from 0')
}

function damaged(field: string, rule: string): AppError {
  return new AppError('invalid', `The snapshot's description is damaged: "${field}" must be ${rule}.`, { field })
}
