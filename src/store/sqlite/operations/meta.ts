import { sql } from 'kysely'
import type { Context } from './context.ts'

export async function get({ db }: Context, key: string): Promise<string | null> {
  const row = await db.selectFrom('meta').select('value').where('key', '=', key).executeTakeFirst()
  return row?.value ?? null
}

export async function set({ db }: Context, key: string, value: string): Promise<void> {
  await db
    .insertInto('meta')
    .values({ key, value })
    .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
    .execute()
}

/** Damage that SQLite finds in pages and indexes, and rows whose parent is gone; empty when sound. */
export async function check({ db }: Context): Promise<readonly string[]> {
  const quick = await sql<{ quick_check: string }>`pragma quick_check`.execute(db)
  const foreign = await sql<{ table: string; parent: string }>`pragma foreign_key_check`.execute(db)
  return [
    ...quick.rows.map((row) => row.quick_check).filter((line) => line !== 'ok'),
    ...foreign.rows.map((row) => `A row of "${row.table}" names a row of "${row.parent}" that does not exist.`),
  ]
}
