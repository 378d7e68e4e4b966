import { randomBytes } from 'node:crypto'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { systemClock } from '../../src/domain/clock.ts'
import type { Version } from '../../src/domain/function.ts'
import type { RuntimeBuild } from '../../src/domain/runtime.ts'
import type { Snapshot } from '../../src/domain/snapshot.ts'
import { runtimeCatalog } from '../../src/image/runtimes.ts'
import { bind, bootOne, invoke, type DriverHarness, type Start } from '../contract/driver.contract.ts'
import { AgentRig, foldersAsArtifacts, versionOf } from '../support/agent-rig.ts'
import { openVmRig, vmMissing, type VmRig } from '../support/vm-rig.ts'
import { median, shuffled, type Row } from './measure.ts'
import { body200, handlers, type Language } from './subject.ts'

const rounds = 5
const clonesPerRate = 8

/** P4: from the decision to the first answer in a microVM, through the agent beside the driver alone with the same image, snapshot and code; P5: fresh VMs a second. */
export default async function p4Vm(): Promise<Row[]> {
  const missing = vmMissing()
  if (missing !== null) throw new Error(`microVMs cannot be measured here: ${missing}`)
  const rig = await openVmRig()
  try {
    await rig.driver.probe()
    const rows: Row[] = []
    for (const language of ['node', 'python'] as const) rows.push(...(await rowsOf(rig, language)))
    return rows
  } finally {
    await rig.close()
  }
}

interface Side {
  readonly harness: DriverHarness
  readonly agent: AgentRig<VmRig['driver'], typeof systemClock>
  readonly snapshot: Snapshot
  readonly version: (snapshot: Version['config']['snapshot']) => Version
  readonly samples: Record<string, number[]>
}

async function rowsOf(rig: VmRig, language: Language): Promise<Row[]> {
  const side = await open(rig, language)
  try {
    const steps: (() => Promise<void>)[] = [
      () => timed(side, 'driver cold', () => answer(side, undefined)),
      () => timed(side, 'agent cold', () => run(side, 'none')),
      () => timed(side, 'driver restore', () => answer(side, restore(side))),
      () => timed(side, 'agent restore', () => run(side, 'runtime')),
      () => prespawned(side),
    ]
    for (let round = 0; round < rounds; round++) for (const step of shuffled(steps)) await step()
    const perSecond = {
      driver: await rate(() => answer(side, restore(side))),
      agent: await rate(() => run(side, 'runtime')),
    }
    return [...latencyRows(rig, language, side), rateRow(rig, language, perSecond)]
  } finally {
    await side.agent.close()
    await rig.driver.forgetSnapshot(side.snapshot)
    await rm(side.snapshot.folder, { recursive: true, force: true })
  }
}

async function open(rig: VmRig, language: Language): Promise<Side> {
  const { file, source, runtime } = handlers[language]
  const build = runtimeCatalog(rig.builds).resolve(runtime)
  const codeFolder = path.join(rig.folder, `code-${language}`)
  await mkdir(codeFolder)
  await writeFile(path.join(codeFolder, file), source)
  const { path: codeImage } = await rig.images.codeImage({ codeFolder, cacheFolder: null, layerFolders: [] }, 'bench')
  const folder = path.join(rig.folder, `instances-${language}`)
  const none = { breakBoot: null, leftovers: async () => [], close: async () => {} }
  const harness: DriverHarness = { driver: rig.driver, build, folder, codeFolder, codeImage, ...none }
  const digest = `sha256:${(language === 'node' ? 'c' : 'd').repeat(64)}` as const
  const agent = new AgentRig<VmRig['driver'], typeof systemClock>(systemClock, rig.driver, {
    runtimes: runtimeCatalog([build]),
    artifacts: foldersAsArtifacts(new Map([[digest, codeFolder]]), rig.folder),
    images: rig.images,
    vmPoolSize: 0,
  })
  const pinned = { runtimeId: build.id, runtimeVersion: build.version, runtimeDigest: build.digest, codeDigest: digest }
  const version: Side['version'] = (snapshot) =>
    versionOf(
      { isolation: 'vm', reuse: 'never', snapshot, handler: handlers[language].handler, runtime, timeoutMs: 60_000 },
      { ...pinned, functionName: `${language}-${snapshot}` },
    )
  await agent.agent.register()
  for (const mode of ['none', 'runtime'] as const) await agent.agent.deploy(version(mode))
  return { harness, agent, version, snapshot: await snapshotOf(rig, harness), samples: {} }
}

/** A runtime snapshot as the driver alone makes it. */
async function snapshotOf(rig: VmRig, harness: DriverHarness): Promise<Snapshot> {
  const folder = path.join(rig.folder, `snapshot-${randomBytes(4).toString('hex')}`)
  const booted = await bootOne(harness, newId(), (spec, options) =>
    rig.driver.boot({ ...spec, folder, isForSnapshot: true }, options),
  )
  await booted.link.prepareSnapshot()
  const key = await rig.driver.snapshotKey({ runtime: harness.build, memoryMib: 256, codeImage: null })
  return rig.driver.snapshot(booted.sandbox, { folder, kind: 'runtime', key })
}

const newId = (): string => `b-${randomBytes(6).toString('hex')}`

const restore =
  ({ harness, snapshot }: Side): Start =>
  async (spec, options) => {
    const made = await harness.driver.restore?.(snapshot, { ...spec, codeImage: null }, options)
    if (made === undefined) throw new Error('the driver has no snapshots')
    return made
  }

/** One fresh VM of the driver alone, to its first answer. */
async function answer({ harness }: Side, start: Start | undefined): Promise<void> {
  const booted = await bootOne(harness, newId(), start)
  await bind(harness, booted)
  await invoke(booted, JSON.parse(body200))
  void booted.sandbox.kill()
}

async function prespawned(side: Side): Promise<void> {
  const { harness, snapshot } = side
  const id = newId()
  const about = { instanceId: id, epoch: `epoch-${id}`, folder: harness.folder, codeImage: null }
  const spare = await harness.driver.prespawn?.(snapshot, { ...about, runtime: harness.build satisfies RuntimeBuild })
  if (spare === undefined) return
  const start: Start = async (spec, options) => {
    const made = await harness.driver.restore?.(snapshot, { ...spec, codeImage: null, prespawned: spare }, options)
    if (made === undefined) throw new Error('the driver has no snapshots')
    return made
  }
  await timed(side, 'driver pre-spawned', async () => {
    const booted = await bootOne(harness, id, start)
    await bind(harness, booted)
    await invoke(booted, JSON.parse(body200))
    void booted.sandbox.kill()
  })
}

/** One fresh VM through the agent. */
async function run({ agent, version }: Side, mode: 'none' | 'runtime'): Promise<void> {
  const { result } = await agent.run(version(mode), JSON.parse(body200))
  if (result.outcome !== 'succeeded') throw new Error(`${result.outcome}: ${result.error?.errorMessage}`)
}

async function timed(side: Side, name: string, work: () => Promise<void>): Promise<void> {
  const fromMs = performance.now()
  await work()
  ;(side.samples[name] ??= []).push(performance.now() - fromMs)
}

async function rate(one: () => Promise<void>): Promise<number> {
  const fromMs = performance.now()
  for (let n = 0; n < clonesPerRate; n += 2) await Promise.all([one(), one()])
  return (clonesPerRate * 1_000) / (performance.now() - fromMs)
}

function latencyRows(rig: VmRig, language: Language, { samples }: Side): Row[] {
  const p50 = (name: string): number => median(samples[name] ?? [])
  const note = `${vmmOf(rig)}; decision to first answer, 256 MiB, medians of ${rounds} shuffled rounds`
  const row = (what: string, bound: number): Row => ({
    promise: 'P4',
    subject: `${language}: ${what} to first answer`,
    value: p50(`agent ${what}`),
    unit: 'ms',
    limit: { what: 'the driver alone', value: p50(`driver ${what}`) },
    bound: { op: '<=', value: bound },
    note,
    samples: { agent: samples[`agent ${what}`] ?? [], driver: samples[`driver ${what}`] ?? [] },
  })
  const ahead: Row = {
    promise: 'P4',
    subject: `${language}: pre-spawned restore to first answer, the driver alone`,
    value: p50('driver pre-spawned'),
    unit: 'ms',
    limit: null,
    bound: null,
    note: `${note}; the agent does not start VMMs ahead yet`,
  }
  return [row('cold', 1.15), row('restore', 1.25), ahead]
}

function rateRow(rig: VmRig, language: Language, perSecond: { driver: number; agent: number }): Row {
  return {
    promise: 'P5',
    subject: `${language}: fresh VMs a second, reuse never`,
    value: perSecond.agent,
    unit: 'VM/s',
    limit: { what: 'the driver alone', value: perSecond.driver },
    bound: { op: '>=', value: 0.8 },
    note: `${vmmOf(rig)}; ${clonesPerRate} clones, two at a time, each answers once and is destroyed`,
  }
}

function vmmOf({ driver }: VmRig): string {
  const { vmm } = driver.capabilities
  return vmm === null ? 'no VMM' : `${vmm.name} ${vmm.version} (${vmm.accelerator})`
}
