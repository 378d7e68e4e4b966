import { Client, type TimedReply } from './client.ts'
import { shuffled } from './measure.ts'
import { quietMoment } from './quiet.ts'
import { body200, invokeHeaders, invokeUrl } from './subject.ts'
import type { Platform } from '../support/platform.ts'

/** Rounds before those that count: every process has then done everything once. */
const warmUpRounds = 2
/** Before each sample: the pool refills (10 ms and a boot after the call) and the machine goes quiet. */
const pauseMs = 150

/** One subject's call; resolves to its figures in ms by name. */
export type Sample = () => Promise<Readonly<Record<string, number>>>
export interface Samples {
  readonly samples: Readonly<Record<string, readonly number[]>>
  /** Taken while other work went on, because it did not end. */
  readonly ungated: number
}

/** Throws unless it succeeded. */
export async function invokeBy(client: Client, platform: Platform, name: string): Promise<TimedReply> {
  const reply = await client.post(invokeUrl(platform, name), invokeHeaders(platform), body200)
  if (reply.headers.get('hearth-outcome') !== 'succeeded')
    throw new Error(`Invocation of ${name} did not succeed: ${reply.status} ${reply.body.toString()}`)
  return reply
}

/** A pause, then a moment at which nothing else wants to run; false when there was none. */
async function quietPause(): Promise<boolean> {
  await new Promise((resolve) => setTimeout(resolve, pauseMs))
  return quietMoment()
}

/** Takes a sample of each in every round, in a new order, each after `rest`, which says whether the machine was quiet. */
export async function sampleAll(all: readonly Sample[], rounds: number, rest = quietPause): Promise<Samples> {
  const samples: Record<string, number[]> = {}
  let ungated = 0
  for (let round = -warmUpRounds; round < rounds; round++)
    for (const sample of shuffled(all)) {
      const isQuiet = await rest()
      const figures = await sample()
      if (round < 0) continue
      if (!isQuiet) ungated++
      for (const [name, ms] of Object.entries(figures)) (samples[name] ??= []).push(ms)
    }
  return { samples, ungated }
}

/** From the receipt: from the end of queueing to the end of the attempt's last phase. Throws unless it started as `source` says. */
export async function decisionToResultMs(
  platform: Platform,
  headers: ReadonlyMap<string, string>,
  source: 'pool' | 'boot',
): Promise<number> {
  return (await coldStart(platform, headers, source)).totalMs
}

/** The same, and each of the attempt's own phases in ms by name. */
export async function coldStart(
  platform: Platform,
  headers: ReadonlyMap<string, string>,
  source: 'pool' | 'boot',
): Promise<{ totalMs: number; phases: Readonly<Record<string, number>> }> {
  const id = headers.get('hearth-invocation-id') ?? ''
  const reply = await fetch(`${platform.url}/v1/invocations/${id}`, { headers: invokeHeaders(platform) })
  const receipt = (await reply.json()) as {
    start: string
    phases: { phase: string; startMs: number; durationMs: number }[]
  }
  if (receipt.start !== source)
    throw new Error(`Invocation ${id} started from "${receipt.start}" where "${source}" was to be measured.`)
  const own = receipt.phases.filter(({ phase }) => !['admit', 'queue', 'place'].includes(phase))
  const from = Math.min(...own.map(({ startMs }) => startMs))
  const totalMs = Math.max(...own.map(({ startMs, durationMs }) => startMs + durationMs)) - from
  return { totalMs, phases: Object.fromEntries(own.map(({ phase, durationMs }) => [phase, durationMs])) }
}
