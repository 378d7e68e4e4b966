import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { format, resolveConfig } from 'prettier'
import type { Row } from './measure.ts'
import { table } from './table.ts'

/** What one benchmark gave. */
export interface BenchRun {
  readonly id: string
  readonly seconds: number
  readonly rows: readonly Row[]
}

/** When, of what and where a benchmark was run last. */
interface Published extends BenchRun {
  readonly date: string
  readonly commit: string
  readonly machine: string
}

const root = path.resolve(import.meta.dirname, '../..')
const jsonFile = path.join(root, 'docs/promises/last.json')
const page = path.join(root, 'PROMISES.md')
const block = /<!-- last run -->[\s\S]*<!-- end of last run -->/

/** Puts `runs` in the place of what docs/promises/last.json holds of the same benchmarks, and prints the tables of PROMISES.md anew, in
 *  the order of `ids`: a long suite may be run in parts. */
export async function publish(runs: readonly BenchRun[], ids: readonly string[]): Promise<void> {
  const cpu = os.cpus()[0]?.model ?? 'unknown processor'
  const of = {
    date: new Date().toISOString().slice(0, 10),
    commit: commit(),
    machine: `${os.cpus().length} cores (${cpu}), ${Math.round(os.totalmem() / 2 ** 30)} GiB, Linux ${os.release()}`,
  }
  const kept = (await lastRuns()).filter((last) => !runs.some((run) => run.id === last.id))
  const all = [...kept, ...runs.map((run) => ({ ...run, ...of }))].sort((a, b) => ids.indexOf(a.id) - ids.indexOf(b.id))
  await mkdir(path.dirname(jsonFile), { recursive: true })
  await writeFile(jsonFile, `${JSON.stringify(all, null, 1)}\n`)
  const text = (await readFile(page, 'utf8')).replace(block, () => section(all))
  await writeFile(page, await format(text, { ...(await resolveConfig(page)), parser: 'markdown' }))
}

/** With a mark when what was measured is not exactly that commit. */
function commit(): string {
  const git = (...args: string[]): string => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim()
  return (
    git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', 'src', 'guest', 'runtimes') === '' ? '' : '+')
  )
}

async function lastRuns(): Promise<Published[]> {
  return existsSync(jsonFile) ? (JSON.parse(await readFile(jsonFile, 'utf8')) as Published[]) : []
}

/** One table for all benchmarks that were run on the same day, at the same commit, on the same machine. */
function section(all: readonly Published[]): string {
  const groups = Map.groupBy(all, ({ date, commit: at, machine }) => `Measured ${date} at commit ${at} on ${machine}.`)
  const parts = [...groups].map(([where, runs]) => `${where}\n\n${table(runs.flatMap(({ rows }) => rows))}`)
  const raw = 'Samples: [docs/promises/last.json](docs/promises/last.json).'
  return ['<!-- last run -->', ...parts, raw, '<!-- end of last run -->'].join('\n\n')
}
