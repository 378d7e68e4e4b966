import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { table, verdictOf, type Row } from './measure.ts'

/** A benchmark gets a scratch folder and gives rows; it never fails because a promise is missed, only because it could not measure. */
export type Bench = (folder: string) => Promise<Row[]>

const root = path.resolve(import.meta.dirname, '../..')
const benches: Record<string, () => Promise<{ default: Bench }>> = {
  P1: () => import('./p1-warm.ts'),
  P2: () => import('./p2-p3-cold.ts'),
  P6: () => import('./p6-memory.ts'),
  stall: () => import('./stall.ts'),
  P10: () => import('./p10-install.ts'),
  rivals: () => import('./rivals.ts'),
}

const wanted = process.argv.slice(2).length > 0 ? process.argv.slice(2) : Object.keys(benches)
const rows: Row[] = []
for (const id of wanted) {
  const bench = benches[id]
  if (bench === undefined) throw new Error(`No benchmark "${id}"; there are ${Object.keys(benches).join(', ')}.`)
  const folder = await mkdtemp(path.join(os.tmpdir(), `hearth-${id}-`))
  try {
    process.stderr.write(`measuring ${id} ...\n`)
    rows.push(...(await (await bench()).default(folder)))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

process.stdout.write(`${table(rows)}\n`)
const missed = rows.filter((row) => verdictOf(row) === 'missed')
process.stdout.write(`${rows.length} rows, ${missed.length} promises missed\n`)
if (process.argv.length <= 2) await publish(rows)

/** Keeps the last full run in docs/promises/last.json and its table in PROMISES.md. */
async function publish(all: readonly Row[]): Promise<void> {
  const cpu = os.cpus()[0]?.model ?? 'unknown processor'
  const machine = `${os.cpus().length} cores (${cpu}), ${Math.round(os.totalmem() / 2 ** 30)} GiB, Linux ${os.release()}`
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim()
  const date = new Date().toISOString().slice(0, 10)
  await writeFile(
    path.join(root, 'docs/promises/last.json'),
    `${JSON.stringify({ date, commit, machine, rows: all }, null, 2)}\n`,
  )
  const page = path.join(root, 'PROMISES.md')
  const text = await readFile(page, 'utf8')
  const block = `<!-- last run -->\nMeasured ${date} at commit ${commit} on ${machine}. Raw: [docs/promises/last.json](docs/promises/last.json).\n\n${table(all)}\n<!-- end of last run -->`
  await writeFile(
    page,
    text.replace(/<!-- last run -->[\s\S]*<!-- end of last run -->/, () => block),
  )
}
