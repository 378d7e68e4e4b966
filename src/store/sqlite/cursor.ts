import { invalid } from '../../domain/error.ts'
import type { Page, PageRequest } from '../../domain/store.ts'

/** Most rows one page may ask for: keeps a page under a few milliseconds of the store's thread. */
export const pageLimitMax = 1_000

/** Cursors are opaque to callers: base64url of `<list>:<key of the last row seen>`. Because they name a row and not an offset,
 *  rows that come or go while someone pages are neither repeated nor make others be skipped. */
export function encodeCursor(list: string, key: string | number): string {
  return Buffer.from(`${list}:${key}`).toString('base64url')
}

/** The text key inside `cursor`, or undefined for the first page. Throws invalid (field `cursor`). */
export function textAfter(list: string, page: PageRequest): string | undefined {
  if (page.cursor === undefined) return undefined
  const text = Buffer.from(page.cursor, 'base64url').toString()
  const prefix = `${list}:`
  const isOurs = text.startsWith(prefix) && encodeCursor(list, text.slice(prefix.length)) === page.cursor
  if (!isOurs) throw invalid('cursor', page.cursor, 'the nextCursor of the page before, from the same list')
  return text.slice(prefix.length)
}

/** The number inside `cursor`, or undefined for the first page. Throws invalid (field `cursor`). */
export function numberAfter(list: string, page: PageRequest): number | undefined {
  const text = textAfter(list, page)
  if (text === undefined) return undefined
  if (!/^\d{1,15}$/.test(text)) {
    throw invalid('cursor', page.cursor, 'the nextCursor of the page before, from the same list')
  }
  return Number(text)
}

/** Rows to read for `page`: one more than asked, which tells whether another page follows. Throws invalid (field `limit`). */
export function rowsToRead(page: PageRequest): number {
  if (!Number.isInteger(page.limit) || page.limit < 1 || page.limit > pageLimitMax) {
    throw invalid('limit', page.limit, `a whole number from 1 to ${pageLimitMax}`)
  }
  return page.limit + 1
}

/** Cuts the extra row off and turns it into a cursor. */
export function toPage<Row, T>(
  rows: readonly Row[],
  page: PageRequest,
  { list, key, item }: { list: string; key: (row: Row) => string | number; item: (row: Row) => T },
): Page<T> {
  const kept = rows.slice(0, page.limit)
  const last = kept.at(-1)
  const hasMore = rows.length > page.limit && last !== undefined
  return { items: kept.map(item), nextCursor: hasMore ? encodeCursor(list, key(last)) : null }
}
