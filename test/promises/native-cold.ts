import { readdir, readFile } from 'node:fs/promises'
import type { Platform } from '../support/platform.ts'
import { anyPython, Spawner } from './bare.ts'
import { Client } from './client.ts'
import { coldStart, invokeBy, sampleAll, type Sample, type Samples } from './cold.ts'
import { median, percentile, type Row } from './measure.ts'
import { bundleOf, deployNative, nativeCode } from './native-subject.ts'
import { bareServer, body200, withPlatform } from './subject.ts'

const rounds = 20
const awakeMs = 100
const kinds = ['provided', 'rust', 'go'] as const
type Kind = (typeof kinds)[number]

/** What AWS Lambda reports of a bootstrap of its kind, printed beside it: another machine, another kind of isolation. */
const awsNote = 'AWS Lambda with a bootstrap of 81 KB: init 6.5 ms, warm 1.33 ms, 14 MB'
/** Milliseconds: without a pool, and from it. */
const bounds = { provided: [6, 2], rust: [6, 2], go: [10, 2] } as const

/** Native programs: cold starts with a pool and without, a warm call after the same pause, and what the bridge holds. Bounds are absolute: nothing sleeps meanwhile. */
export default async function nativeCold(folder: string): Promise<Row[]> {
  return withPlatform(folder, { HEARTH_POOL_SIZE: '2' }, async (pooled) =>
    withPlatform(folder, { HEARTH_POOL_SIZE: '0' }, async (unpooled) => {
      const flags = ['--reuse', 'never']
      for (const kind of kinds) {
        const code = await nativeCode(folder, kind)
        await deployNative(pooled, { kind, name: `cold-${kind}`, code, flags })
        const bundle = await bundleOf(pooled, folder, `cold-${kind}`)
        await deployNative(unpooled, { kind, name: `cold-${kind}`, code: bundle, flags })
        await deployNative(pooled, { kind, name: `warm-${kind}`, code: bundle, flags: ['--freeze-after', '3600000'] })
      }
      const measured = await measure(folder, pooled, unpooled)
      return [...kinds.flatMap((kind) => rowsOf(kind, measured)), await bridgeRow(pooled)]
    }),
  )
}

async function measure(folder: string, pooled: Platform, unpooled: Platform): Promise<Samples> {
  const [fromPool, fromBoot] = [await Client.connect(pooled.url), await Client.connect(unpooled.url)]
  const subjects = kinds.flatMap((kind): Sample[] => [
    async () => {
      const reply = await invokeBy(fromPool, pooled, `cold-${kind}`)
      return figures(`${kind} pooled`, await coldStart(pooled, reply.headers, 'pool'))
    },
    async () => {
      const reply = await invokeBy(fromBoot, unpooled, `cold-${kind}`)
      return figures(`${kind} unpooled`, await coldStart(unpooled, reply.headers, 'boot'))
    },
    async () => ({ [`${kind} warm`]: (await invokeBy(fromPool, pooled, `warm-${kind}`)).ms }),
  ])
  const spawner = new Spawner(await anyPython(pooled))
  // What the machine itself takes for a process: where that is milliseconds, absolute bounds tell of little else.
  subjects.push(async () => ({ spawn: await spawner.time(['/bin/echo', 'up'], false) }))
  const bare = await bareServer(folder)
  const idle = await Client.connect(bare.url)
  try {
    return await sampleAll(subjects, rounds, async () => stayAwake(bare.url, idle))
  } finally {
    spawner.close()
    idle.close()
    bare.process.kill('SIGKILL')
    fromPool.close()
    fromBoot.close()
  }
}

/** Calls a bare server for a while in place of a pause: the pool refills, and the processors do not go to sleep. A virtual machine gets a sleeping one back when its host sees
 *  fit, in 0.1 ms on one day and 10 on another, at each wake-up, and bounds in milliseconds would tell of that alone. */
async function stayAwake(url: string, client: Client): Promise<boolean> {
  const until = performance.now() + awakeMs
  while (performance.now() < until) await client.post(url, {}, body200)
  return true
}

function figures(name: string, { totalMs, phases }: Awaited<ReturnType<typeof coldStart>>): Record<string, number> {
  const byPhase = Object.entries(phases).map(([phase, ms]) => [`${name}: ${phase}`, ms] as const)
  return { [name]: totalMs, ...Object.fromEntries(byPhase) }
}

/** Medians of the phases of `name` that take time, in the order in which they come. */
function phaseText(samples: Samples['samples'], name: string): string {
  const phases = Object.entries(samples).filter(([key]) => key.startsWith(`${name}: `))
  const medians = phases.map(([key, ms]) => [key.slice(name.length + 2), median(ms)] as const)
  return medians.flatMap(([phase, ms]) => (ms < 0.05 ? [] : [`${phase} ${ms.toFixed(1)}`])).join(', ')
}

function rowsOf(kind: Kind, { samples }: Samples): Row[] {
  const row = (start: string, name: string, value: number): Row => {
    const own = samples[`${kind} ${name}`] ?? []
    return {
      promise: 'NATIVE',
      subject: `${kind}: cold ${start}`,
      value: median(own),
      unit: 'ms',
      limit: null,
      bound: { op: '<=', value },
      note: [
        `decision to first result: ${phaseText(samples, `${kind} ${name}`)}; p90 ${percentile(own, 0.9).toFixed(2)} ms; medians of ${rounds} shuffled rounds`,
        `a warm call over HTTP: ${median(samples[`${kind} warm`] ?? []).toFixed(2)} ms, a bare fork and exec: ${median(samples['spawn'] ?? []).toFixed(2)} ms`,
        ...(kind === 'provided' ? [awsNote] : []),
      ].join('; '),
      samples: { [name]: own },
    }
  }
  const [boot, pool] = bounds[kind]
  return [row('without a pool', 'unpooled', boot), row('from the booted pool', 'pooled', pool)]
}

/** The bridge of the warm `provided` function: what stands between its program and the platform. */
async function bridgeRow(platform: Platform): Promise<Row> {
  const found = await bridges(platform.launcherPid)
  if (found.length === 0) throw new Error('No bridge runs below this platform.')
  const kib = await Promise.all(found.map(({ pid }) => residentKib(pid)))
  const supervisors = await Promise.all(found.map(({ parent }) => residentKib(parent)))
  return {
    promise: 'NATIVE',
    subject: 'provided: the bridge, resident',
    value: median(kib) / 1024,
    unit: 'MiB',
    limit: null,
    bound: { op: '<=', value: 2 },
    note: `median of ${kib.length}, pages of its program included; the supervisor over it ${(median(supervisors) / 1024).toFixed(2)} MiB; ${awsNote}`,
  }
}

async function bridges(launcher: number): Promise<{ pid: number; parent: number }[]> {
  const found: { pid: number; parent: number }[] = []
  for (const pid of (await readdir('/proc')).map(Number).filter(Number.isInteger)) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (!command.includes('hearth-guest\0bridge')) continue
    const parent = await parentOf(pid)
    if ((await parentOf(parent)) === launcher) found.push({ pid, parent })
  }
  return found
}

async function parentOf(pid: number): Promise<number> {
  return Number(/PPid:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1])
}

async function residentKib(pid: number): Promise<number> {
  return Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1])
}
