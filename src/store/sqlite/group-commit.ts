import { AppError } from '../../domain/error.ts'
import { fromPlainError, toPlainError } from '../../domain/plain-error.ts'
import type { Reply, Request } from './messages.ts'
import type { Database } from './database.ts'
import { reads, writes } from './operations/index.ts'

const operations = { ...reads, ...writes }

/** Mutations that share one transaction and so one fsync: beyond 64 its share is below 5 us a mutation, while the first
 *  of the batch waits for the last. */
export const batchMax = 64

/** Runs the operation of that name. Arguments were typed where the request was made (`store.ts`), so the table is read loosely. */
async function run(database: Database, { name, nowMs, args }: Request): Promise<unknown> {
  const operation: unknown = Reflect.get(operations, name)
  if (typeof operation !== 'function') throw new TypeError(`The store has no operation "${name}".`)
  return Reflect.apply(operation, undefined, [{ db: database.db, nowMs }, ...args])
}

export function isWrite(request: Request): boolean {
  return request.name in writes
}

/** Answers `requests`: reads first (they were asked at the same time, so any order is right, and none may see a change that is not
 *  yet committed), then all mutations in one transaction. Replies to mutations exist only once COMMIT has returned, that is after
 *  the fsync of the journal. */
export async function runBatch(database: Database, requests: readonly Request[]): Promise<Reply[]> {
  const replies: Reply[] = []
  const mutations: Request[] = []
  for (const request of requests) {
    if (isWrite(request)) mutations.push(request)
    else replies.push(await answer(database, request))
  }
  if (mutations.length > 0) replies.push(...(await commitTogether(database, mutations)))
  return replies
}

async function answer(database: Database, request: Request): Promise<Reply> {
  try {
    return { id: request.id, result: await run(database, request) }
  } catch (error) {
    return { id: request.id, error: toPlainError(explain(error)) }
  }
}

async function commitTogether(database: Database, mutations: readonly Request[]): Promise<Reply[]> {
  const { raw } = database
  try {
    raw.exec('begin immediate')
    const replies: Reply[] = []
    for (const request of mutations) replies.push(await runInSavepoint(database, request))
    raw.exec('commit')
    return replies
  } catch (error) {
    if (raw.isTransaction) raw.exec('rollback')
    const plain = toPlainError(explain(error))
    return mutations.map(({ id }) => ({ id, error: plain }))
  }
}

async function runInSavepoint(database: Database, request: Request): Promise<Reply> {
  const { raw } = database
  raw.exec('savepoint mutation')
  const reply = await answer(database, request)
  // A full disk or an I/O error makes SQLite roll the whole transaction back by itself: then nobody's change is left.
  if (!raw.isTransaction) throw 'error' in reply ? fromPlainError(reply.error) : new Error('The transaction is gone.')
  if ('error' in reply) raw.exec('rollback to mutation')
  raw.exec('release mutation')
  return reply
}

const sqliteBusy = 5
const sqliteFull = 13

/** What an operator can mend is said as such; the low byte of an extended result code is the primary one (sqlite.org/rescode.html). */
function explain(error: unknown): unknown {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return error
  const code = error.errcode & 0xff
  if (code === sqliteFull) {
    const message = 'Cannot save: the disk that holds the data folder is full. Free space, then retry.'
    return new AppError('capacity', message, { detail: error.message })
  }
  if (code === sqliteBusy) {
    const message = 'Cannot save: another program holds the lock of the database. Wait for it to finish, then retry.'
    return new AppError('capacity', message, { detail: error.message })
  }
  return error
}
