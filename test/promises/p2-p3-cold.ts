import { anyPython, barePrograms, executableOf, Spawner, type BarePrograms } from './bare.ts'
import { Client } from './client.ts'
import { decisionToResultMs, invokeBy, sampleAll, type Sample, type Samples } from './cold.ts'
import { median, percentile, type Row } from './measure.ts'
import { bareServer, body200, deploy, withPlatform, type Language } from './subject.ts'
import type { Platform } from '../support/platform.ts'

const rounds = 20

/** P2 and P3: cold starts from the booted pool and without it, each beside its limits. One platform with a pool and one without run
 *  side by side; a round takes one sample of every subject, in a new order. `reuse: never` makes every invocation a cold one, and its
 *  limit, a warm call, is of an Instance that is never frozen. */
export default async function p2p3Cold(folder: string): Promise<Row[]> {
  return withPlatform(folder, { HEARTH_POOL_SIZE: '2' }, async (pooled) =>
    withPlatform(folder, { HEARTH_POOL_SIZE: '0' }, async (unpooled) => {
      const rows: Row[] = []
      for (const language of ['node', 'python'] as const) {
        rows.push(...rowsOf(language, await measure(folder, language, { pooled, unpooled })))
      }
      return rows
    }),
  )
}

async function measure(
  folder: string,
  language: Language,
  { pooled, unpooled }: { pooled: Platform; unpooled: Platform },
): Promise<Samples> {
  const cold = `cold-${language}`
  const warm = `warm-${language}`
  const neverReused = { language, name: cold, flags: ['--reuse', 'never'] }
  await deploy(pooled, folder, neverReused)
  await deploy(unpooled, folder, neverReused)
  await deploy(pooled, folder, { language, name: warm, flags: ['--freeze-after', '3600000'] })
  const executable = await executableOf(pooled, cold, language)
  const spawner = new Spawner(await anyPython(pooled))
  const bare = await bareServer(folder)
  const clients = [
    await Client.connect(pooled.url),
    await Client.connect(unpooled.url),
    await Client.connect(bare.url),
  ] as const
  try {
    const programs = await barePrograms(folder, language, executable)
    return await sampleAll(
      subjects({ clients, platforms: [pooled, unpooled], bareUrl: bare.url, cold, warm, spawner, programs }),
      rounds,
    )
  } finally {
    spawner.close()
    for (const client of clients) client.close()
    bare.process.kill('SIGKILL')
  }
}

function subjects(of: {
  clients: readonly [Client, Client, Client]
  platforms: readonly [Platform, Platform]
  bareUrl: string
  cold: string
  warm: string
  spawner: Spawner
  programs: BarePrograms
}): Sample[] {
  const { clients, platforms, bareUrl, cold, warm, spawner, programs } = of
  return [
    async () => {
      const reply = await invokeBy(clients[0], platforms[0], cold)
      return {
        pooled: await decisionToResultMs(platforms[0], reply.headers, 'pool'),
        pooledOverHttp: reply.ms,
      }
    },
    async () => ({ warmOverHttp: (await invokeBy(clients[0], platforms[0], warm)).ms }),
    async () => {
      const reply = await invokeBy(clients[1], platforms[1], cold)
      return { unpooled: await decisionToResultMs(platforms[1], reply.headers, 'boot') }
    },
    async () => ({ bareOverHttp: (await clients[2].post(bareUrl, {}, body200)).ms }),
    async () => ({ bareSpawn: await spawner.time(programs.spawned, false) }),
    async () => ({ bareLoad: await spawner.time(programs.booted, true) }),
  ]
}

function rowsOf(language: Language, { samples, ungated }: Samples): Row[] {
  const of = (name: string): number => median(samples[name] ?? [])
  const spread = (name: string): string => `p90 ${percentile(samples[name] ?? [], 0.9).toFixed(2)} ms`
  const common = { unit: 'ms', samples } as const
  return [
    {
      ...common,
      promise: 'P2',
      subject: `${language}: cold from the booted pool`,
      value: of('pooled'),
      limit: { what: 'the same without a pool', value: of('unpooled') },
      bound: { op: '<=', value: language === 'node' ? 0.12 : 0.2 },
      note: `decision to first result; ${spread('pooled')}; handler load and answer in a booted bare interpreter: ${of('bareLoad').toFixed(2)} ms`,
    },
    {
      ...common,
      promise: 'P2',
      subject: `${language}: cold from the pool over HTTP`,
      value: of('pooledOverHttp'),
      limit: { what: 'warm call after the same pause', value: of('warmOverHttp') },
      bound: { op: '<=', value: 2.5 },
      note: `client to client; ${spread('pooledOverHttp')}; a bare node:http server after the same pause: ${of('bareOverHttp').toFixed(2)} ms`,
    },
    {
      ...common,
      promise: 'P3',
      subject: `${language}: cold without a pool`,
      value: of('unpooled'),
      limit: { what: 'bare spawn of the interpreter with the same handler', value: of('bareSpawn') },
      bound: { op: '<=', value: language === 'node' ? 1.2 : 1.25 },
      note: `decision to first result; ${spread('unpooled')}; medians of ${rounds} shuffled rounds${ungated === 0 ? '' : `, ${ungated} samples beside other work`}`,
    },
  ]
}
