import type { Digest } from '../domain/artifact.ts'
import { AppError } from '../domain/error.ts'
import type { InstanceHandle } from './handles.ts'

/* A handle's text, from a folder that belongs to this platform alone, and is not believed for that: each field is checked, what it names is looked up. */

type Fields = Readonly<Record<string, unknown>>

const textMax = 1_024

/** Throws invalid, naming the field that is wrong, for anything but a handle of `instance`. */
export function parseHandle(text: string, instance: string): InstanceHandle {
  const fields = object(parseJson(text), '')
  if (fields['format'] !== 1) throw wrong('format', '1')
  if (fields['instance'] !== instance) throw wrong('instance', `"${instance}", the name of its folder`)
  const version = object(fields['version'], 'version')
  const record = object(fields['record'], 'record')
  const sandbox = object(fields['sandbox'], 'sandbox')
  if (sandbox['version'] !== 1) throw wrong('sandbox.version', '1')
  const state = object(sandbox['state'], 'sandbox.state')
  if (state['instance'] !== instance) throw wrong('sandbox.state.instance', `"${instance}", as "instance"`)
  return {
    format: 1,
    instance,
    createdAt: count(fields, 'createdAt'),
    version: {
      project: string(version, 'version.project'),
      functionName: string(version, 'version.functionName'),
      number: count(version, 'version.number'),
      createdAt: count(version, 'version.createdAt'),
      codeDigest: digest(version, 'version.codeDigest'),
      runtimeDigest: digest(version, 'version.runtimeDigest'),
    },
    secretsStamp: string(fields, 'secretsStamp'),
    record: {
      driver: string(record, 'record.driver'),
      vmm: textOrNull(record, 'record.vmm'),
      snapshot: textOrNull(record, 'record.snapshot'),
    },
    sandbox: {
      driver: string(sandbox, 'sandbox.driver'),
      version: 1,
      state,
    },
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new AppError('invalid', 'its handle is not JSON', { cause })
  }
}

function object(value: unknown, field: string): Fields {
  if (isFields(value)) return value
  throw field === '' ? new AppError('invalid', 'its handle is not an object') : wrong(field, 'an object')
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** `field` with its path: the last word is the key. */
function valueOf(fields: Fields, field: string): unknown {
  return fields[field.slice(field.lastIndexOf('.') + 1)]
}

function string(fields: Fields, field: string): string {
  const value = valueOf(fields, field)
  if (typeof value === 'string' && value.length <= textMax) return value
  throw wrong(field, `a text of at most ${textMax} characters`)
}

function textOrNull(fields: Fields, field: string): string | null {
  return valueOf(fields, field) === null ? null : string(fields, field)
}

function count(fields: Fields, field: string): number {
  const value = valueOf(fields, field)
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw wrong(field, 'a whole number from 0')
}

function digest(fields: Fields, field: string): Digest {
  const value = valueOf(fields, field)
  if (isDigest(value)) return value
  throw wrong(field, 'a digest (sha256:...)')
}

function isDigest(value: unknown): value is Digest {
  return typeof value === 'string' && /^sha256:[0-9a-f]{64}$/.test(value)
}

function wrong(field: string, rule: string): AppError {
  return new AppError('invalid', `its handle is damaged: "${field}" must be ${rule}`, { field })
}
