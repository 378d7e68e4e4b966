import { mkdtemp } from 'node:fs/promises'
import path from 'node:path'
import { Client } from './client.ts'
import { median, shuffled, type Row } from './measure.ts'
import { quietMoment } from './quiet.ts'
import { installed, rivals, startRival } from './rival-servers.ts'
import { body200, deploy, invokeHeaders, invokeUrl, withPlatform } from './subject.ts'
import { load } from './wrk.ts'

const rounds = 3
const seconds = 3
/** As P1's: compilers of either side are done then. */
const warmUpSeconds = 6

/** A system that is up, with a function that has not been called. */
interface Target {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Clock of the moment from which its first answer counts; null: from the request. */
  readonly startedAt: number | null
}

interface System {
  readonly name: string
  readonly isolation: string
  readonly firstNote: string
  /** Starts it in `folder`, lets `use` measure and stops it. */
  readonly run: (folder: string, use: (target: Target) => Promise<void>) => Promise<void>
}

interface Figures {
  readonly firstMs: number[]
  readonly p50Ms: number[]
  readonly rate: number[]
}

const hearth: System = {
  name: 'Hearth',
  isolation: 'own sandbox: namespaces, cgroup, uid, seccomp, Landlock',
  firstNote: '',
  run: async (folder, use) =>
    withPlatform(folder, {}, async (platform) => {
      await deploy(platform, folder, { language: 'node', name: 'rival' })
      const headers = invokeHeaders(platform)
      await use({ url: invokeUrl(platform, 'rival'), headers, body: body200, startedAt: null })
    }),
}

/** Warm figures and the first cold answer of each rival beside Hearth: every round starts every system anew, in a new order, and warms it up
 *  after its first answer. */
export default async function rivalsBench(folder: string): Promise<Row[]> {
  const systems: System[] = [hearth, ...rivals.map((rival) => ({ ...rival, run: startRival(rival) }))]
  for (const rival of rivals) await installed(rival)
  const figures = new Map<string, Figures>(systems.map(({ name }) => [name, { firstMs: [], p50Ms: [], rate: [] }]))
  for (let round = 0; round < rounds; round++)
    for (const system of shuffled(systems)) {
      const own = await mkdtemp(path.join(folder, 'round-'))
      await system.run(own, async (target) => {
        const of = figures.get(system.name)
        of?.firstMs.push(await firstAnswer(target))
        const common = { ...target, method: 'POST', folder: own, seconds } as const
        await load({ ...common, clients: 32, seconds: warmUpSeconds })
        of?.p50Ms.push((await load({ ...common, clients: 1 })).p50Ms)
        of?.rate.push((await load({ ...common, clients: 32 })).requestsPerSecond)
      })
    }
  return systems.flatMap((system) => rowsOf(system, figures))
}

/** The first request that is answered with 200. */
async function firstAnswer(target: Target): Promise<number> {
  if (target.startedAt === null) await quietMoment()
  const client = await Client.connect(target.url)
  const reply = await client.post(target.url, target.headers, target.body)
  client.close()
  if (reply.status !== 200) throw new Error(`${target.url} answered ${reply.status}: ${reply.body.toString()}`)
  return target.startedAt === null ? reply.ms : performance.now() - target.startedAt
}

function rowsOf(system: System, figures: ReadonlyMap<string, Figures>): Row[] {
  const own = figures.get(system.name)
  const mine = system === hearth ? undefined : figures.get(hearth.name)
  const row = (kind: keyof Figures, what: string, unit: string, note: string): Row => ({
    promise: 'rivals',
    subject: `${system.name}: ${what}`,
    isolation: system.isolation,
    value: median(own?.[kind] ?? []),
    unit,
    limit: mine === undefined ? null : { what: 'Hearth', value: median(mine[kind]) },
    bound: mine === undefined ? null : { op: kind === 'rate' ? '<=' : '>=', value: 1 },
    note,
    samples: { [kind]: own?.[kind] ?? [] },
  })
  return [
    row('firstMs', 'first cold answer', 'ms', system.firstNote),
    row('p50Ms', 'warm p50, 1 client', 'ms', ''),
    row('rate', 'requests/s, 32 clients', 'req/s', ''),
  ]
}
