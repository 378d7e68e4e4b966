import { openDatabase } from './database.ts'
import type { Database } from './database.ts'
import { batchMax, isWrite, runBatch } from './group-commit.ts'
import { toPlainError } from '../../domain/plain-error.ts'
import type { FromWorker, Request, ToWorker } from './messages.ts'
import { parentPort, workerData } from 'node:worker_threads'

/* The store's thread: everything that touches SQLite runs here, so that no fsync and no long scan stops the caller's loop.
 *
 *   requests -> queue -> (one turn of the loop, well under 1 ms, to gather more) -> batch -> COMMIT -> replies
 *
 * While a batch commits, the next one gathers in the port by itself. */

const port = parentPort
if (port === null) throw new Error('worker.ts runs as a worker thread only: use openSqliteStore.')

const queue: Request[] = []
let isScheduled = false
let isClosing = false
let database: Database

function send(message: FromWorker): void {
  port?.postMessage(message)
}

try {
  database = await openDatabase(workerData)
  port.on('message', receive)
  send({ kind: 'opened' })
} catch (error) {
  send({ kind: 'refused', error: toPlainError(error) })
}

function receive(message: ToWorker): void {
  if (message.kind === 'close') isClosing = true
  else for (const request of message.requests) queue.push(request)
  schedule()
}

function schedule(): void {
  if (isScheduled) return
  isScheduled = true
  setImmediate(() => {
    void drain()
  })
}

async function drain(): Promise<void> {
  const batch = takeBatch()
  if (batch.length > 0) send({ kind: 'replies', replies: await runBatch(database, batch) })
  isScheduled = false
  if (queue.length > 0) schedule()
  else if (isClosing) close()
}

/** Requests in order of arrival, up to `batchMax` mutations. */
function takeBatch(): Request[] {
  let mutations = 0
  const end = queue.findIndex((request) => isWrite(request) && ++mutations > batchMax)
  return queue.splice(0, end === -1 ? queue.length : end)
}

function close(): void {
  // The last connection to close moves the journal into the database file.
  database.raw.close()
  port?.close()
}
