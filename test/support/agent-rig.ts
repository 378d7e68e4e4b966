import type { Agent, AttemptResult, ExecuteCall, ExecuteRequest, ExecuteUp } from '../../src/domain/agent.ts'
import type { ArtifactStore } from '../../src/domain/artifact.ts'
import { ManualClock, type Clock } from '../../src/domain/clock.ts'
import type { Driver } from '../../src/domain/driver.ts'
import { AppError } from '../../src/domain/error.ts'
import { defaultConfig } from '../../src/domain/default-config.ts'
import type { FunctionConfig, Version } from '../../src/domain/function.ts'
import { silentLogger } from '../../src/domain/logger.ts'
import type { RuntimeBuild, RuntimeCatalog } from '../../src/domain/runtime.ts'
import { createLocalAgent } from '../../src/agent/local-agent.ts'
import type { LocalAgentOptions } from '../../src/agent/local-agent-options.ts'
import { FakeDriver, type FakeDriverOptions } from '../../src/driver/fake/fake-driver.ts'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

export { FakeDriver, type FakeDriverOptions } from '../../src/driver/fake/fake-driver.ts'
export type { FakeMeta } from '../../src/driver/fake/fake-runtime.ts'

/** What came of one execution. */
export interface Ran {
  readonly result: AttemptResult
  readonly frames: readonly ExecuteUp[]
  readonly body: Buffer
}

export interface Running {
  readonly call: ExecuteCall
  readonly done: Promise<Ran>
  /** What came so far. */
  readonly frames: readonly ExecuteUp[]
}

export const fakeBuild: RuntimeBuild = {
  id: 'node26',
  family: 'node',
  version: '26.0.0',
  executable: '/usr/bin/node',
  prefix: '',
  isBridged: false,
  digest: `sha256:${'a'.repeat(64)}`,
  image: `sha256:${'a'.repeat(64)}`,
}

/** A catalog that holds exactly `builds`. */
export function catalogOf(...builds: RuntimeBuild[]): RuntimeCatalog {
  const find = (name: string): RuntimeBuild => {
    const build = builds.find(({ id, family }) => id === name || family === name)
    if (build === undefined) throw new AppError('invalid', `Runtime "${name}" is not here.`)
    return build
  }
  return {
    list: () => builds,
    others: () => [],
    resolve: find,
    pinned: (digest) => {
      const build = builds.find((each) => each.digest === digest)
      if (build === undefined) throw new AppError('not_found', `Runtime ${digest} is not here.`)
      return build
    },
  }
}

/** An artifact store whose trees are folders that exist already, by digest. */
export function foldersAsArtifacts(folders: ReadonlyMap<string, string>, scratch: string): ArtifactStore {
  const missing = async (): Promise<never> => {
    throw new AppError('not_found', 'No such artifact.')
  }
  const made = new Map<string, string>()
  return {
    put: missing,
    stat: missing,
    open: missing,
    unpack: async (digest) => ({ folder: folders.get(digest) ?? scratch, bytes: 0, entries: 0 }),
    unpackImage: missing,
    derived: async ({ key }, fill) => {
      const known = made.get(key)
      if (known !== undefined) return known
      const folder = path.join(scratch, `derived-${made.size}-${randomBytes(4).toString('hex')}`)
      // Synchronous: a wait for the disk would be real time in the middle of virtual time.
      mkdirSync(folder, { recursive: true })
      await fill(folder)
      made.set(key, folder)
      return folder
    },
    list: async () => [],
    verify: async () => [],
    delete: async () => {},
  }
}

export function versionOf(config: Partial<FunctionConfig> = {}, rest: Partial<Version> = {}): Version {
  return {
    project: 'default',
    functionName: 'fn',
    number: 1,
    config: {
      ...defaultConfig('x86_64'),
      runtime: 'node',
      handler: 'index.handler',
      ...config,
    },
    codeDigest: `sha256:${'c'.repeat(64)}`,
    codeBytes: 1000,
    codeOrigin: null,
    layers: [],
    runtimeId: fakeBuild.id,
    runtimeVersion: fakeBuild.version,
    runtimeDigest: fakeBuild.digest,
    policyDigest: `sha256:${'d'.repeat(64)}`,
    createdAt: 1,
    ...rest,
  }
}

/** Lets everything that is ready to run, run: rounds of the event loop, no time. */
export async function settle(rounds = 25): Promise<void> {
  for (let n = 0; n < rounds; n++) await new Promise((resolve) => setImmediate(resolve))
}

/** A local agent over `driver` (a FakeDriver in virtual time by default) and the means to run things on it. */
export class AgentRig<D extends Driver = FakeDriver, C extends Clock = ManualClock> {
  readonly folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-agent-'))
  readonly clock: C
  readonly driver: D
  readonly agent: Agent
  readonly recorded: { id: string; result: AttemptResult }[] = []
  readonly secrets = new Map<string, string>()
  #count = 0

  constructor(clock: C, driver: D, options: Partial<LocalAgentOptions> = {}) {
    this.clock = clock
    this.driver = driver
    this.agent = createLocalAgent({
      node: 'here',
      arch: 'x86_64',
      drivers: [driver],
      images: null,
      vmPoolSize: 1,
      vmFunctionPoolSize: 0,
      vmPrespawn: 0,
      runtimes: catalogOf(fakeBuild),
      artifacts: foldersAsArtifacts(new Map(), this.folder),
      secrets: {
        reveal: async (_project, names) => {
          const values = new Map(names.map((name) => [name, this.secrets.get(name) ?? '']))
          return { values, stamp: JSON.stringify([...values]) }
        },
      },
      hostServices: { open: () => false },
      outcomes: { record: (id, result) => void this.recorded.push({ id, result }) },
      logger: silentLogger,
      folders: {
        instances: path.join(this.folder, 'instances'),
        logs: path.join(this.folder, 'logs'),
        snapshots: path.join(this.folder, 'snapshots'),
      },
      memoryMib: 8192,
      poolSize: 0,
      names: { apiUrl: 'http://127.0.0.1:9010', region: 'local', accountId: '000000000000' },
      clock,
      ...options,
    })
  }

  static fake(options: FakeDriverOptions = {}, agent: Partial<LocalAgentOptions> = {}): AgentRig {
    const clock = new ManualClock()
    return new AgentRig(clock, new FakeDriver({ clock, ...options }), agent)
  }

  /** Begins an execution of `version` with `event` as JSON; credit is given back as data comes. */
  begin(version: Version, event: unknown = {}, request: Partial<ExecuteRequest> = {}): Running {
    const frames: ExecuteUp[] = []
    let finish: (ran: Ran) => void = () => {}
    const done = new Promise<Ran>((resolve) => (finish = resolve))
    const call: ExecuteCall = this.agent.execute(this.#request(version, request), (frame) => {
      frames.push(frame)
      if (frame.type === 'data') call.send({ type: 'credit', bytes: frame.chunk.length })
      if (frame.type === 'result') finish({ result: frame.result, frames, body: bodyOf(frames) })
    })
    call.send({
      type: 'data',
      chunk: event instanceof Uint8Array ? event : Buffer.from(JSON.stringify(event)),
      last: true,
    })
    return { call, done, frames }
  }

  async run(version: Version, event: unknown = {}, request: Partial<ExecuteRequest> = {}): Promise<Ran> {
    return this.begin(version, event, request).done
  }

  async advance(ms: number): Promise<void> {
    if (!(this.clock instanceof ManualClock)) throw new Error('only in virtual time')
    await settle()
    this.clock.advance(ms)
    await settle()
  }

  async close(): Promise<void> {
    await this.agent.close()
    rmSync(this.folder, { recursive: true, force: true })
  }

  #request(version: Version, request: Partial<ExecuteRequest>): ExecuteRequest {
    const now = this.clock.nowMs()
    this.#count++
    return {
      invocationId: `00000000-0000-7000-8000-${String(this.#count).padStart(12, '0')}`,
      version,
      ownerEpoch: 1,
      acceptedAt: now,
      deadline: now + version.config.timeoutMs,
      contentType: 'application/json',
      traceparent: null,
      coldHint: null,
      wantLogTail: false,
      ...request,
    }
  }
}

function bodyOf(frames: readonly ExecuteUp[]): Buffer {
  return Buffer.concat(frames.filter((frame) => frame.type === 'data').map((frame) => frame.chunk))
}
