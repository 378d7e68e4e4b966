import type { Phase } from '../../src/domain/invocation.ts'
import type { SnapshotKind, SnapshotMode } from '../../src/domain/snapshot.ts'
import { bootOne } from '../contract/driver-contract-rig.ts'
import type { VmRig } from '../support/vm-rig.ts'
import { bareBoot } from './bare-vm.ts'
import { median, shuffled, type Row } from './measure.ts'
import { quietMoment } from './quiet.ts'
import type { Language } from './subject.ts'
import {
  answer,
  atRest,
  fresh,
  newId,
  openSubject,
  restoreOf,
  run,
  vmmOf,
  withVms,
  type AgentKind,
  type VmSubject,
} from './vm-subject.ts'

const rounds = 5
/** Machines that are kept ready are made anew after a start: that takes a second. */
const restMsMax = 5_000

/** P4: from the decision to the first answer in a microVM, through the agent, beside what the same guest takes without it: for a cold boot VMM, kernel and
 *  image alone, else the driver alone with the very same snapshot. */
export async function nodeStarts(): Promise<Row[]> {
  return withVms(async (rig) => {
    const small = await allRows(rig, 'node')
    const options = { language: 'node', modes: ['runtime'], kinds: ['plain'], withLodash: true } as const
    const subject = await openSubject(rig, options)
    try {
      const restores = startsOf(subject).filter(({ what }) => what === 'runtime snapshot and code')
      return [...small, ...(await rowsOf(subject, 'node with lodash', restores))]
    } finally {
      await subject.close()
    }
  })
}

export async function pythonStarts(): Promise<Row[]> {
  return withVms((rig) => allRows(rig, 'python'))
}

async function allRows(rig: VmRig, language: Language): Promise<Row[]> {
  const modes = ['none', 'runtime', 'function'] as const
  const subject = await openSubject(rig, { language, modes, kinds: ['plain', 'ahead', 'pooled'] })
  try {
    return await rowsOf(subject, language, startsOf(subject))
  } finally {
    await subject.close()
  }
}

interface VmStart {
  readonly what: string
  readonly bound: number | null
  readonly limit: string
  readonly agent: { readonly kind: AgentKind; readonly mode: SnapshotMode }
  /** Without the agent: makes ready what is not timed, then gives what is. */
  readonly alone: () => Promise<() => Promise<{ kill: () => Promise<unknown> }>>
}

function startsOf(subject: VmSubject): VmStart[] {
  const { codeImage } = subject.harness
  const restored = (kind: SnapshotKind): VmStart['alone'] => {
    return async () => async () => (await fresh(subject, restoreOf(subject, kind))).sandbox
  }
  const driver = 'the driver alone'
  return [
    {
      ...{ what: 'cold boot', bound: 1.15, limit: 'VMM, kernel and image alone' },
      agent: { kind: 'plain', mode: 'none' },
      alone: async () => async () => (await fresh(subject, bareBoot(subject.rig, codeImage ?? ''))).sandbox,
    },
    {
      ...{ what: 'runtime snapshot and code', bound: 1.25, limit: driver },
      agent: { kind: 'plain', mode: 'runtime' },
      alone: restored('runtime'),
    },
    {
      ...{ what: 'function snapshot', bound: 1.25, limit: driver },
      agent: { kind: 'plain', mode: 'function' },
      alone: restored('function'),
    },
    {
      ...{ what: 'runtime snapshot and code, pre-spawned', bound: 1.3, limit: driver },
      agent: { kind: 'ahead', mode: 'runtime' },
      alone: () => prespawned(subject, 'runtime'),
    },
    {
      ...{ what: 'function snapshot, pre-spawned', bound: 1.3, limit: driver },
      agent: { kind: 'ahead', mode: 'function' },
      alone: () => prespawned(subject, 'function'),
    },
    {
      ...{ what: 'runtime snapshot and code, restored and paused', bound: null, limit: driver },
      agent: { kind: 'pooled', mode: 'runtime' },
      alone: () => paused(subject),
    },
  ]
}

async function prespawned(subject: VmSubject, kind: SnapshotKind): ReturnType<VmStart['alone']> {
  const { harness, snapshots } = subject
  const id = newId()
  const codeImage = kind === 'function' ? harness.codeImage : null
  const spec = { instanceId: id, folder: harness.folder, codeImage, runtime: harness.build }
  const snapshot = snapshots[kind]
  const spare = snapshot && (await harness.driver.prespawn?.(snapshot, spec))
  if (spare === undefined) throw new Error(`nothing of the ${kind} snapshot can be started ahead`)
  return async () => (await fresh(subject, restoreOf(subject, kind, spare), id)).sandbox
}

async function paused(subject: VmSubject): ReturnType<VmStart['alone']> {
  const booted = await bootOne(subject.harness, newId(), restoreOf(subject, 'runtime'))
  // As in the pool: only the second is answered when the runtime has warmed up.
  await booted.link.ping()
  await booted.link.ping()
  await booted.sandbox.pause()
  return async () => {
    await booted.sandbox.resume()
    await answer(subject, booted)
    return booted.sandbox
  }
}

async function rowsOf(
  subject: VmSubject,
  name: Language | 'node with lodash',
  starts: readonly VmStart[],
): Promise<Row[]> {
  const samples = new Map<VmStart, Taken>(starts.map((start) => [start, { agent: [], alone: [], phases: [] }]))
  for (let round = 0; round < rounds; round++)
    for (const start of shuffled(starts)) {
      const taken = samples.get(start) ?? { agent: [], alone: [], phases: [] }
      // Whichever comes first in a round may meet what the start before left to do: that must not always be the same one.
      for (const take of shuffled([throughAgent, alone])) {
        await atRest(subject)
        await take(subject, start, taken)
      }
    }
  return starts.map((start) => {
    const { agent = [], alone = [], phases = [] } = samples.get(start) ?? {}
    return {
      promise: 'P4',
      subject: `${name}: ${start.what} to first answer`,
      value: median(agent),
      unit: 'ms',
      limit: { what: start.limit, value: median(alone) },
      bound: start.bound === null ? null : { op: '<=', value: start.bound },
      note: `${phasesText(phases)}; ${vmmOf(subject.rig)}, 256 MiB, medians of ${rounds} shuffled rounds`,
      samples: { agent, alone },
    }
  })
}

interface Taken {
  readonly agent: number[]
  readonly alone: number[]
  readonly phases: (readonly Phase[])[]
}

async function throughAgent(subject: VmSubject, { agent: { kind, mode } }: VmStart, taken: Taken): Promise<void> {
  await quietMoment(restMsMax)
  const fromMs = performance.now()
  taken.phases.push(await run(subject, kind, mode))
  taken.agent.push(performance.now() - fromMs)
}

async function alone(subject: VmSubject, start: VmStart, taken: Taken): Promise<void> {
  const begin = await start.alone()
  await quietMoment(restMsMax)
  const fromMs = performance.now()
  const sandbox = await begin()
  taken.alone.push(performance.now() - fromMs)
  await sandbox.kill()
}

/** Medians by phase, of those that took a millisecond. */
function phasesText(starts: readonly (readonly Phase[])[]): string {
  const names = [...new Set(starts.flatMap((phases) => phases.map(({ phase }) => phase)))]
  const medians = names.map((name) => {
    const own = starts.map((phases) => phases.find(({ phase }) => phase === name)?.durationMs ?? 0)
    return { name, ms: median(own) }
  })
  return medians.flatMap(({ name, ms }) => (ms < 1 ? [] : [`${name} ${Math.round(ms)}`])).join(', ')
}
