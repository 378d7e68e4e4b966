import { buildAgain, refuseImage } from './refusal.ts'

/* Documents of an image, read field by field: whoever made them may have written anything. */

export type Fields = Readonly<Record<string, unknown>>

export function parseJson(where: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw refuseImage(where, 'it is no JSON', buildAgain)
  }
}

export function parseObject(where: string, text: string): Fields {
  return objectOf(where, parseJson(where, text))
}

export function objectOf(where: string, value: unknown): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw refuseImage(where, 'it is no JSON object', buildAgain)
  return { ...value }
}

export function listOf(where: string, value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw refuseImage(where, 'it is no list', buildAgain)
  return value
}

/** An absent or null list of texts is empty. */
export function textsOf(where: string, value: unknown): readonly string[] {
  if (value === undefined || value === null) return []
  return listOf(where, value).map((item) => textOf(where, item))
}

export function textOf(where: string, value: unknown): string {
  if (typeof value !== 'string' || value.includes('\0')) throw refuseImage(where, 'it is no text', buildAgain)
  return value
}
