import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { verdictOf, type Row } from './measure.ts'
import { publish, type BenchRun } from './publish.ts'
import { table } from './table.ts'

/** A benchmark gets a scratch folder and gives rows; it never fails because a promise is missed, only because it could not measure. */
export type Bench = (folder: string) => Promise<Row[]>

/** In the order of the published table. A bench may measure several promises. */
const benches: Readonly<Record<string, () => Promise<{ default: Bench }>>> = {
  P1: () => import('./p1-warm.ts'),
  P2: () => import('./p2-p3-cold.ts'),
  'P-stream': () => import('./p-stream.ts'),
  'P4-node': async () => ({ default: (await import('./p4-vm-starts.ts')).nodeStarts }),
  'P4-python': async () => ({ default: (await import('./p4-vm-starts.ts')).pythonStarts }),
  P5: () => import('./p5-vm-rate.ts'),
  P6: () => import('./p6-memory.ts'),
  NATIVE: () => import('./native-cold.ts'),
  'NATIVE-warm': () => import('./native-warm.ts'),
  'NATIVE-RIC': () => import('./native-ric.ts'),
  stall: () => import('./stall.ts'),
  dev: () => import('./dev.ts'),
  P10: () => import('./p10-install.ts'),
  rivals: () => import('./rivals.ts'),
}

const flag = '--publish'
const named = process.argv.slice(2).filter((argument) => argument !== flag)
const runs: BenchRun[] = []
for (const id of named.length > 0 ? named : Object.keys(benches)) runs.push(await run(id))

const rows = runs.flatMap((done) => done.rows)
process.stdout.write(`${table(rows)}\n`)
const missed = rows.filter((row) => verdictOf(row) === 'missed')
process.stdout.write(`${rows.length} rows, ${missed.length} promises missed\n`)
if (named.length === 0 || process.argv.includes(flag)) await publish(runs, Object.keys(benches))

async function run(id: string): Promise<BenchRun> {
  const bench = benches[id]
  if (bench === undefined) throw new Error(`No benchmark "${id}"; there are ${Object.keys(benches).join(', ')}.`)
  const folder = await mkdtemp(path.join(os.tmpdir(), `hearth-${id}-`))
  try {
    process.stderr.write(`measuring ${id} ...\n`)
    const startedAt = performance.now()
    const measured = await (await bench()).default(folder)
    return { id, seconds: Math.round((performance.now() - startedAt) / 1000), rows: measured }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
