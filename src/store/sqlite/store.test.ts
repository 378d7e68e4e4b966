import { auditOf, versionOf } from '../../../test/contract/store-bench.ts'
import { storeContract } from '../../../test/contract/store.contract.ts'
import { rejects } from '../../../test/support/rejects.ts'
import { ManualClock, systemClock } from '../../domain/clock.ts'
import { silentLogger } from '../../domain/logger.ts'
import { openSqliteStore } from './store.ts'
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

storeContract('openSqliteStore', async (t, clock) => {
  const store = await openSqliteStore({ file: await freshFile(t), clock, logger: silentLogger })
  t.after(() => store.close())
  return store
})

test('openSqliteStore creates a private file in WAL mode and leaves no draft behind', async (t) => {
  const file = await freshFile(t)
  const store = await open(file)
  await store.meta.set('k', 'v')
  assert.equal((await stat(file)).mode & 0o777, 0o600)
  assert.equal((await stat(`${file}-wal`)).mode & 0o777, 0o600)
  await assert.rejects(stat(`${file}.new`), { code: 'ENOENT' })
  await store.close()
  const raw = new DatabaseSync(file, { readOnly: true })
  assert.equal(raw.prepare('pragma journal_mode').get()?.['journal_mode'], 'wal')
  raw.close()
})

test('openSqliteStore finds everything again after close', async (t) => {
  const file = await freshFile(t)
  const first = await open(file)
  await first.projects.create('p', { functionsMax: 10, concurrencyMax: 1 }, auditOf('project.create', 'p'))
  const created = await first.functions.create(versionOf('f'), auditOf('function.create', 'f'))
  await first.close()
  const second = await open(file)
  assert.deepEqual(await second.functions.get('p', 'f'), created)
  await second.close()
})

test('openSqliteStore refuses garbage, says what to do and leaves it as it is', async (t) => {
  const file = await freshFile(t)
  await writeFile(file, 'this is not a database at all, '.repeat(200))
  const before = await readFile(file)
  await rejects(
    open(file),
    'internal',
    /Cannot use the database ".*": it is not a SQLite database\. .*Restore a backup/,
  )
  assert.deepEqual(await readFile(file), before)
})

test('openSqliteStore refuses an empty file', async (t) => {
  const file = await freshFile(t)
  await writeFile(file, '')
  await rejects(open(file), 'internal', /it is empty/)
  assert.equal((await stat(file)).size, 0)
})

test('openSqliteStore refuses a truncated file', async (t) => {
  const file = await filledFile(t)
  const { size } = await stat(file)
  await truncate(file, size / 2)
  await rejects(open(file), 'internal', /Restore a backup in its place/)
  assert.equal((await stat(file)).size, size / 2)
})

test('openSqliteStore refuses a file with overwritten pages', async (t) => {
  const file = await filledFile(t)
  const bytes = await readFile(file)
  bytes.fill(0xff, 4_096 * 3, 4_096 * 8)
  await writeFile(file, bytes)
  await rejects(open(file), 'internal', /Cannot use the database/)
})

test('openSqliteStore refuses to start anew when only the journal is left', async (t) => {
  const file = await freshFile(t)
  await writeFile(`${file}-wal`, 'x')
  await rejects(open(file), 'internal', /it is missing, but its journal/)
})

test('openSqliteStore refuses a SQLite file of another program', async (t) => {
  const file = await freshFile(t)
  const raw = new DatabaseSync(file)
  raw.exec('create table notes (text text)')
  raw.close()
  await rejects(open(file), 'invalid', /not one of Hearth's/)
})

test('openSqliteStore refuses a schema newer than it knows', async (t) => {
  const file = await filledFile(t)
  const raw = new DatabaseSync(file)
  raw.exec(`insert into kysely_migration (name, timestamp) values ('9999_future', '')`)
  raw.close()
  await rejects(open(file), 'invalid', /a newer Hearth wrote it \(schema "9999_future"\)/)
})

test('openSqliteStore names the file when it cannot be made', async (t) => {
  const file = await freshFile(t)
  await writeFile(file, 'x')
  await rejects(open(join(file, 'hearth.db')), 'internal', /Cannot open the database ".*\/hearth\.db\/hearth\.db": E/)
})

test('a full disk is capacity for the mutations it meets, and the store goes on', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'hearth-store-'))
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder]).status !== 0) {
    await rm(folder, { recursive: true })
    return t.skip('mounting a small file system needs root')
  }
  const store = await open(join(folder, 'hearth.db'))
  t.after(async () => {
    await store.close()
    spawnSync('umount', [folder])
    await rm(folder, { recursive: true })
  })
  await store.meta.set('before', 'kept')
  const large = 'x'.repeat(50_000)
  const outcomes = await Promise.allSettled(Array.from({ length: 40 }, (_, i) => store.meta.set(`k${i}`, large)))
  const refused = outcomes.filter((outcome) => outcome.status === 'rejected')
  assert.ok(refused.length > 0)
  for (const { reason } of refused) {
    assert.equal(reason.code, 'capacity', reason.detail)
    assert.match(reason.message, /Cannot save: the disk that holds the data folder is full/)
  }
  for (const [i, outcome] of outcomes.entries()) {
    assert.equal(await store.meta.get(`k${i}`), outcome.status === 'fulfilled' ? large : null)
  }
  assert.equal(await store.meta.get('before'), 'kept')
  assert.deepEqual(await store.check(), [])
})

test('a database that another program keeps locked is capacity', async (t) => {
  const file = await freshFile(t)
  const store = await openSqliteStore({ file, clock: systemClock, logger: silentLogger, busyTimeoutMs: 50 })
  const other = new DatabaseSync(file)
  other.exec('begin immediate')
  await assert.rejects(store.meta.set('k', 'v'), { code: 'capacity', message: /another program holds the lock/ })
  other.exec('rollback')
  other.close()
  await store.meta.set('k', 'v')
  await store.close()
})

test('check reports a row whose parent is gone', async (t) => {
  const file = await filledFile(t)
  const raw = new DatabaseSync(file, { enableForeignKeyConstraints: false })
  raw.exec('delete from projects')
  raw.close()
  const store = await open(file)
  assert.match((await store.check()).join(), /A row of "functions" names a row of "projects" that does not exist/)
  await store.close()
})

test('openSqliteStore keeps every acknowledged write through kill -9', async (t) => {
  const file = await freshFile(t)
  const acknowledged = await writeUntilKilled(file, 400)
  const store = await open(file)
  assert.deepEqual(await store.check(), [])
  for (const key of acknowledged) assert.equal(await store.meta.get(key), 'x', `lost ${key}`)
  await store.close()
})

/** Runs a process that writes with 16 calls under way and prints each key once its write is acknowledged; kills it at `count` keys. */
async function writeUntilKilled(file: string, count: number): Promise<string[]> {
  const writer = fileURLToPath(new URL('../../../test/contract/store-writer.ts', import.meta.url))
  const child = spawn(process.execPath, [writer, file], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const keys: string[] = []
  for await (const line of createInterface({ input: child.stdout })) {
    keys.push(line)
    if (keys.length === count) child.kill('SIGKILL')
  }
  const [, signal] = await exited
  assert.equal(signal, 'SIGKILL')
  // The kill may have cut the last line short.
  return keys.slice(0, -1)
}

test("openSqliteStore takes its times from the caller's clock", async (t) => {
  const clock = new ManualClock(42)
  const store = await openSqliteStore({ file: await freshFile(t), clock, logger: silentLogger })
  const project = await store.projects.create(
    'p',
    { functionsMax: 1, concurrencyMax: 1 },
    auditOf('project.create', 'p'),
  )
  assert.equal(project.createdAt, 42)
  await store.close()
})

function open(file: string): ReturnType<typeof openSqliteStore> {
  return openSqliteStore({ file, clock: systemClock, logger: silentLogger })
}

async function freshFile(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'hearth-store-'))
  t.after(() => rm(folder, { recursive: true }))
  return join(folder, 'hearth.db')
}

/** A sound database of about 40 pages. */
async function filledFile(t: TestContext): Promise<string> {
  const file = await freshFile(t)
  const store = await open(file)
  await store.projects.create('p', { functionsMax: 100, concurrencyMax: 1 }, auditOf('project.create', 'p'))
  await Promise.all(
    Array.from({ length: 60 }, (_, i) =>
      store.functions.create(versionOf(`f${i}`), auditOf('function.create', `f${i}`)),
    ),
  )
  await store.close()
  return file
}
