import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { executableOf, idleProgram } from './bare.ts'
import { median, type Row } from './measure.ts'
import { deploy, invoke, privateMib, withPlatform, type Language } from './subject.ts'
import type { Platform } from '../support/platform.ts'

/** Instances of a language that are measured: each of a function of its own, bound, called once and idle. */
const instances = 4
/** After the call: the Instance is frozen (100 ms) and has done what it does when idle. */
const idleMs = 1_500

/** P6: private memory of an idle Instance, its supervisor included, beside as many bare interpreters that loaded the same handler, all alive
 *  at the same time; and the resident memory of the platform's own process. */
export default async function p6Memory(folder: string): Promise<Row[]> {
  return withPlatform(folder, {}, async (platform) => {
    const rows: Row[] = []
    for (const language of ['node', 'python'] as const) rows.push(await idleRow(platform, folder, language))
    const status = await readFile(`/proc/${platform.pid}/status`, 'utf8')
    rows.push({
      promise: 'P6',
      subject: 'agent and control, resident',
      value: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024,
      unit: 'MiB',
      limit: null,
      bound: { op: '<=', value: 150 },
      note: `one process, after the ${2 * instances} deploys and invocations above`,
    })
    return rows
  })
}

async function idleRow(platform: Platform, folder: string, language: Language): Promise<Row> {
  for (let n = 0; n < instances; n++) {
    await deploy(platform, folder, { language, name: `idle-${language}-${n}` })
    await invoke(platform, `idle-${language}-${n}`)
  }
  const executable = await executableOf(platform, `idle-${language}-0`, language)
  const argv = await idleProgram(folder, language, executable)
  const bare = await Promise.all(Array.from({ length: instances }, () => startBare(argv)))
  await new Promise((resolve) => setTimeout(resolve, idleMs))
  try {
    const sandboxes = await boundSandboxes(platform, executable)
    if (sandboxes.length < instances)
      throw new Error(`${sandboxes.length} bound Instances where ${instances} are idle.`)
    const runtimes = await Promise.all(sandboxes.map(({ runtime }) => privateMib(runtime)))
    const supervisors = await Promise.all(sandboxes.map(({ supervisor }) => privateMib(supervisor)))
    const whole = runtimes.map((mib, index) => mib + (supervisors[index] ?? Number.NaN))
    const limits = await Promise.all(bare.map(({ pid }) => privateMib(pid ?? 0)))
    return {
      promise: 'P6',
      subject: `${language}: private memory of an idle Instance`,
      value: median(whole),
      unit: 'MiB',
      limit: { what: 'bare interpreter with the same handler', value: median(limits) },
      bound: { op: '<=', value: 1.15 },
      note: `medians of ${whole.length} Instances and ${limits.length} interpreters; supervisor ${median(supervisors).toFixed(2)} MiB of it`,
      samples: { runtimes, supervisors, limits },
    }
  } finally {
    for (const child of bare) child.kill('SIGKILL')
  }
}

async function startBare(argv: readonly string[]) {
  const child = spawn(argv[0] ?? '', argv.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  return child
}

/** Sandboxes of `platform` whose runtime is `executable` and has become a function: its code is mounted then. */
async function boundSandboxes(
  platform: Platform,
  executable: string,
): Promise<{ supervisor: number; runtime: number }[]> {
  const launcher = await parentOf(platform.pid)
  const found: { supervisor: number; runtime: number }[] = []
  for (const runtime of (await readdir('/proc')).map(Number).filter(Number.isInteger)) {
    const [program = '', ...args] = (await readFile(`/proc/${runtime}/cmdline`, 'utf8').catch(() => '')).split('\0')
    if (basename(program) !== basename(executable) || !args.some((arg) => arg.includes('/var/runtime/'))) continue
    const supervisor = await parentOf(runtime)
    const isBound = (await readFile(`/proc/${runtime}/mountinfo`, 'utf8')).includes(' /var/task ')
    if (isBound && (await parentOf(supervisor)) === launcher) found.push({ supervisor, runtime })
  }
  return found
}

async function parentOf(pid: number): Promise<number> {
  return Number(/PPid:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1])
}
