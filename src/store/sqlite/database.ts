import { AppError } from '../../domain/error.ts'
import { migrations } from './migrations.ts'
import { forKysely } from './node-sqlite.ts'
import type { Schema } from './schema.ts'
import { Kysely, SqliteDialect } from 'kysely'
import { Migrator } from 'kysely/migration'
import { chmodSync, closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** "Hrth", in the file's header: tells Hearth's database from any other SQLite file. */
const applicationId = 0x48727468

export interface DatabaseOptions {
  readonly file: string
  /** How long a statement waits for another process (a backup, the sqlite3 shell) that holds the lock. */
  readonly busyTimeoutMs: number
}

export interface Database {
  readonly raw: DatabaseSync
  readonly db: Kysely<Schema>
}

/** Opens `file`, creating it when it does not exist; brings its schema up to this build's.
 *  Throws invalid (not Hearth's file, or written by a newer Hearth), internal (damaged). A file that cannot be used is left as it is. */
export async function openDatabase({ file, busyTimeoutMs }: DatabaseOptions): Promise<Database> {
  try {
    const size = sizeOf(file)
    if (size === 0) throw damaged(file, 'it is empty')
    if (size === undefined) await createDatabase(file)
    return await openExisting({ file, busyTimeoutMs })
  } catch (error) {
    throw explain(error, file)
  }
}

async function openExisting({ file, busyTimeoutMs }: DatabaseOptions): Promise<Database> {
  const database = connect({ file, busyTimeoutMs })
  try {
    verify(database.raw, file)
    const applied = appliedMigrations(database.raw)
    refuseNewerSchema(applied, file)
    // The migrator takes 100 ms to find out that there is nothing to do.
    if (applied.length < Object.keys(migrations).length) await migrate(database.db)
    return database
  } catch (error) {
    database.raw.close()
    throw error
  }
}

/** Made aside and renamed, so that a crash half way never leaves an empty file in its place. */
async function createDatabase(file: string): Promise<void> {
  if ((sizeOf(`${file}-wal`) ?? 0) > 0) {
    throw damaged(file, `it is missing, but its journal "${file}-wal" holds changes`)
  }
  mkdirSync(dirname(file), { recursive: true })
  const draft = `${file}.new`
  for (const leftover of [draft, `${draft}-wal`, `${draft}-shm`]) rmSync(leftover, { force: true })
  // SQLite gives the journal files the permissions of the database.
  closeSync(openSync(draft, 'wx', 0o600))
  const { raw, db } = connect({ file: draft, busyTimeoutMs: 0 })
  raw.exec(`pragma application_id = ${applicationId}`)
  await migrate(db)
  raw.close()
  renameSync(draft, file)
  fsyncFolder(dirname(file))
}

function connect({ file, busyTimeoutMs }: DatabaseOptions): Database {
  const raw = new DatabaseSync(file, { timeout: busyTimeoutMs, enableForeignKeyConstraints: true })
  raw.exec('pragma journal_mode = wal')
  raw.exec('pragma synchronous = full')
  return { raw, db: new Kysely<Schema>({ dialect: new SqliteDialect({ database: forKysely(raw) }) }) }
}

/** O(size of the file): 3 ms for an empty one, about 1 s per GiB. */
function verify(raw: DatabaseSync, file: string): void {
  chmodSync(file, 0o600)
  const id = raw.prepare('pragma application_id').get()?.['application_id']
  if (id !== applicationId) {
    throw new AppError(
      'invalid',
      `Cannot use "${file}": it is a SQLite file, but not one of Hearth's. Point the data folder elsewhere.`,
    )
  }
  const problem = raw.prepare('pragma quick_check(1)').get()?.['quick_check']
  if (problem !== 'ok') throw damaged(file, String(problem))
}

function appliedMigrations(raw: DatabaseSync): readonly string[] {
  return raw
    .prepare('select name from kysely_migration')
    .all()
    .map((row) => String(row['name']))
}

function refuseNewerSchema(applied: readonly string[], file: string): void {
  const unknown = applied.filter((name) => !(name in migrations))
  if (unknown.length === 0) return
  throw new AppError(
    'invalid',
    `Cannot use "${file}": a newer Hearth wrote it (schema "${unknown.toSorted().at(-1)}"). ` +
      'Start that release or a later one, or restore a backup made before the upgrade.',
  )
}

async function migrate(db: Kysely<Schema>): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => ({ ...migrations }) } })
  const { error } = await migrator.migrateToLatest()
  if (error !== undefined) throw error
}

function damaged(file: string, problem: string, cause?: unknown): AppError {
  return new AppError(
    'internal',
    `Cannot use the database "${file}": ${problem}. Nothing was changed. Restore a backup in its place, ` +
      `or move it and "${file}-wal" away to start with an empty platform.`,
    { retryable: false, cause },
  )
}

const notADatabase = 26
const corrupt = 11

function explain(error: unknown, file: string): unknown {
  if (error instanceof AppError || !(error instanceof Error)) return error
  // The low byte of an extended result code is the primary one (sqlite.org/rescode.html).
  const code = 'errcode' in error && typeof error.errcode === 'number' ? error.errcode & 0xff : undefined
  if (code === notADatabase) return damaged(file, 'it is not a SQLite database', error)
  if (code === corrupt) return damaged(file, 'it is damaged', error)
  return new AppError('internal', `Cannot open the database "${file}": ${error.message.replace(/\.$/, '')}.`, {
    cause: error,
  })
}

function sizeOf(file: string): number | undefined {
  return statSync(file, { throwIfNoEntry: false })?.size
}

function fsyncFolder(folder: string): void {
  const handle = openSync(folder, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
