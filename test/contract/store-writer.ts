import { systemClock } from '../../src/domain/clock.ts'
import { silentLogger } from '../../src/domain/logger.ts'
import { openSqliteStore } from '../../src/store/sqlite/store.ts'

/* Writes keys to the store in the file named by the first argument, 16 at a time, and prints each one once its write is acknowledged.
 * It never stops: the test that starts it kills it. */

const store = await openSqliteStore({ file: process.argv[2] ?? '', clock: systemClock, logger: silentLogger })
let next = 0

async function write(): Promise<never> {
  for (;;) {
    const key = `k${next++}`
    await store.meta.set(key, 'x')
    process.stdout.write(`${key}\n`)
  }
}

await Promise.all(Array.from({ length: 16 }, write))
