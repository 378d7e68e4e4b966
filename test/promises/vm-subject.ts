import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { LocalAgentOptions } from '../../src/agent/local-agent-options.ts'
import { systemClock } from '../../src/domain/clock.ts'
import type { Driver, Prespawned } from '../../src/domain/driver.ts'
import type { Version } from '../../src/domain/function.ts'
import type { Phase } from '../../src/domain/invocation.ts'
import type { Snapshot, SnapshotKind, SnapshotMode } from '../../src/domain/snapshot.ts'
import { runtimeCatalog } from '../../src/image/runtimes.ts'
import { bind, bootOne, invoke, type Booted, type DriverHarness, type Start } from '../contract/driver-contract-rig.ts'
import { AgentRig, foldersAsArtifacts, versionOf } from '../support/agent-rig.ts'
import { openVmRig, vmMissing, type VmRig } from '../support/vm-rig.ts'
import { body200, handlers, type Language } from './subject.ts'

export type BenchAgent = AgentRig<VmRig['driver'], typeof systemClock>

/** What is kept ready by the agents that are compared. */
export const agentKinds = { plain: {}, ahead: { vmPrespawn: 1 }, pooled: { vmPoolSize: 1 } } as const
export type AgentKind = keyof typeof agentKinds

/** One code of one language, on the driver alone and through agents that share its snapshots. */
export interface VmSubject {
  readonly rig: VmRig
  readonly harness: DriverHarness
  readonly agents: Readonly<Partial<Record<AgentKind, BenchAgent>>>
  /** As the agents made them. */
  readonly snapshots: Readonly<Partial<Record<SnapshotKind, Snapshot>>>
  readonly version: (mode: SnapshotMode) => Version
  close(): Promise<void>
}

/** Agents of one bench make the same code each on its own: what one owns no other may replace. */
function imagesFor({ images }: VmRig, kind: AgentKind): LocalAgentOptions['images'] {
  return {
    codeImage: (code, owner) => images.codeImage(code, `${owner} ${kind} ${code.cacheFolder === null}`),
    codeOwners: () => images.codeOwners(),
    forgetCode: (owner) => images.forgetCode(owner),
  }
}

/** The driver for one agent of several: it outlives them all. */
function unowned<T extends Driver>(driver: T): T {
  return new Proxy(driver, {
    get(target, name) {
      if (name === 'close') return async () => {}
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** Runs `use` with a driver; a row says so when there can be none. */
export async function withVms<T>(use: (rig: VmRig) => Promise<T>): Promise<T> {
  const missing = vmMissing()
  if (missing !== null) throw new Error(`microVMs cannot be measured here: ${missing}`)
  const rig = await openVmRig()
  try {
    await rig.driver.probe()
    return await use(rig)
  } finally {
    await rig.close()
  }
}

export async function openSubject(
  rig: VmRig,
  {
    language,
    modes,
    kinds,
    withLodash = false,
  }: { language: Language; modes: readonly SnapshotMode[]; kinds: readonly AgentKind[]; withLodash?: boolean },
): Promise<VmSubject> {
  const name = `${language}${withLodash ? '-lodash' : ''}`
  const { runtime, handler } = handlers[language]
  const build = runtimeCatalog(rig.builds).resolve(runtime)
  const codeFolder = await codeOf(rig, language, { name, withLodash })
  const { path: codeImage } = await rig.images.codeImage({ codeFolder, cacheFolder: null, layerFolders: [] }, name)
  const none = { breakBoot: null, leftovers: async () => [], close: async () => {} }
  const folder = path.join(rig.folder, `instances-${name}`)
  const harness: DriverHarness = { driver: rig.driver, build, folder, codeFolder, codeImage, ...none }
  const digest = `sha256:${Buffer.from(name.padEnd(32)).toString('hex')}` as const
  const pinned = { runtimeId: build.id, runtimeVersion: build.version, runtimeDigest: build.digest, codeDigest: digest }
  const version: VmSubject['version'] = (snapshot) =>
    versionOf(
      { isolation: 'vm', reuse: 'never', snapshot, handler, runtime, timeoutMs: 60_000 },
      // What `bind` of the driver's contract says it is: a function snapshot is of one Version.
      { ...pinned, functionName: snapshot === 'function' ? 'contract' : `${name}-${snapshot}` },
    )
  const snapshots = path.join(rig.folder, `snapshots-${name}`)
  const open = async (kind: AgentKind): Promise<BenchAgent> => {
    const agent: BenchAgent = new AgentRig(systemClock, unowned(rig.driver), {
      runtimes: runtimeCatalog([build]),
      artifacts: foldersAsArtifacts(new Map([[digest, codeFolder]]), rig.folder),
      images: imagesFor(rig, kind),
      folders: {
        instances: path.join(rig.folder, `i-${name}-${kind}`),
        logs: path.join(rig.folder, `l-${name}-${kind}`),
        snapshots,
      },
      vmPoolSize: 0,
      ...agentKinds[kind],
    })
    await agent.agent.register()
    for (const mode of modes) await agent.agent.deploy(version(mode))
    return agent
  }
  // One after the other: what the first makes is found by the others.
  const agents: Partial<Record<AgentKind, BenchAgent>> = {}
  for (const kind of kinds) agents[kind] = await open(kind)
  return {
    ...{ rig, harness, agents, version, snapshots: await savedIn(snapshots) },
    async close() {
      for (const agent of Object.values(agents)) await agent.close()
      await rm(snapshots, { recursive: true, force: true })
    },
  }
}

async function codeOf(
  rig: VmRig,
  language: Language,
  { name, withLodash }: { name: string; withLodash: boolean },
): Promise<string> {
  const { file, source } = handlers[language]
  const folder = path.join(rig.folder, `code-${name}`)
  await mkdir(folder)
  await writeFile(path.join(folder, file), `${withLodash ? "require('lodash')\n" : ''}${source}`)
  if (withLodash) {
    await writeFile(path.join(folder, 'package.json'), '{"private":true}')
    const options = ['--no-audit', '--no-fund', '--loglevel=error', '--no-package-lock', '--install-links']
    execFileSync('npm', ['install', ...options, 'lodash@4'], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
    await rm(path.join(folder, 'node_modules/.package-lock.json'), { force: true })
  }
  return folder
}

async function savedIn(folder: string): Promise<VmSubject['snapshots']> {
  const found: Partial<Record<SnapshotKind, Snapshot>> = {}
  for (const name of await readdir(folder)) {
    const own = path.join(folder, name)
    if (!existsSync(path.join(own, 'checked'))) continue
    const snapshot: Snapshot = JSON.parse(await readFile(path.join(own, 'snapshot.json'), 'utf8'))
    // The runtime's smallest is that of another size: the pools' default is the one used here.
    if (snapshot.memoryMib === 256) found[snapshot.kind] = { ...snapshot, folder: own }
  }
  return found
}

export const newId = (): string => `b-${randomBytes(6).toString('hex')}`

/** The driver's own restore of a snapshot that the agents use, too. */
export function restoreOf({ harness, snapshots }: VmSubject, kind: SnapshotKind, prespawned?: Prespawned): Start {
  const snapshot = snapshots[kind]
  return async (spec, options) => {
    if (snapshot === undefined) throw new Error(`there is no ${kind} snapshot`)
    const codeImage = kind === 'function' ? harness.codeImage : null
    const own = { ...spec, codeImage, ...(prespawned && { prespawned }) }
    const made = await harness.driver.restore?.(snapshot, own, options)
    if (made === undefined) throw new Error('the driver has no snapshots')
    return made
  }
}

/** From a machine to its first answer, on the driver alone. */
export async function answer({ harness }: VmSubject, booted: Booted): Promise<void> {
  await bind(harness, booted)
  await invoke(booted, JSON.parse(body200))
}

/** One fresh VM of the driver alone, to its first answer; the caller ends it. */
export async function fresh(subject: VmSubject, start: Start | undefined, id = newId()): Promise<Booted> {
  const booted = await bootOne(subject.harness, id, start)
  await answer(subject, booted)
  return booted
}

/** One fresh VM through an agent; the phases of its start. */
export async function run(
  { agents, version }: VmSubject,
  kind: AgentKind,
  mode: SnapshotMode,
): Promise<readonly Phase[]> {
  const agent = agents[kind]
  if (agent === undefined) throw new Error(`there is no agent "${kind}"`)
  const { result } = await agent.run(version(mode), JSON.parse(body200))
  if (result.outcome !== 'succeeded') throw new Error(`${result.outcome}: ${result.error?.errorMessage}`)
  const { snapshot } = result.attempt ?? {}
  if (snapshot !== mode) throw new Error(`asked for "${mode}", started from "${snapshot}"`)
  return result.phases
}

/** Resolves when the machines that agents keep ready are there, and no others. */
export async function atRest({ agents, snapshots, rig }: VmSubject): Promise<void> {
  const [paused, ahead] = [agents.pooled === undefined ? 0 : 1, agents.ahead === undefined ? 0 : 1]
  const machines = paused + ahead * Object.keys(snapshots).length
  const untilMs = performance.now() + 20_000
  for (;;) {
    const left = await rig.leftovers()
    const booted = (await agents.pooled?.agent.status())?.instances.booted ?? 0
    if (left.length === machines && booted === paused) return
    if (performance.now() > untilMs) throw new Error(`${left.length} machines are there where ${machines} rest`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

export function vmmOf({ driver }: VmRig): string {
  const { vmm } = driver.capabilities
  return vmm === null ? 'no VMM' : `${vmm.name} ${vmm.version} (${vmm.accelerator})`
}
