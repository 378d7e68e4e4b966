import { randomUUID } from 'node:crypto'
import type { Agent, AttemptResult, ExecuteCall } from '../domain/agent.ts'
import type { Artifact } from '../domain/artifact.ts'
import { defaultConfig } from '../domain/default-config.ts'
import type { Clock } from '../domain/clock.ts'
import { AppError } from '../domain/error.ts'
import type { Arch, Version } from '../domain/function.ts'
import { limits } from '../domain/limits.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'
import { cacheBytesMax, type CacheDraft } from './build-cache.ts'
import { failureHint } from './failure-hints.ts'

export interface SandboxJob {
  readonly project: string
  readonly code: Artifact
  /** JSON for the runner. */
  readonly event: string
  /** Ends it before its time: nobody waits for it. */
  readonly signal: AbortSignal
  /** Takes what came out, piece by piece, in place of `program` of the result: the next piece is sent when it resolves. */
  readonly sink?: (piece: Buffer) => Promise<void>
  /** Takes what the build leaves for the next one. */
  readonly cache?: Pick<CacheDraft, 'write'>
}

export interface SandboxResult {
  readonly program: Buffer
  /** By the compiler of its version; empty where it said nothing. */
  readonly said: string
  /** Why the caches that came with the code were not used; null when they were. */
  readonly cacheFailed: string | null
  /** All of the new cache was written. */
  readonly isCacheWhole: boolean
}

/** Runs the job. Throws guest_failed with the last lines of the log in `detail`. */
export type RunInSandbox = (job: SandboxJob, report: (line: string) => void) => Promise<SandboxResult>

export interface SandboxRunOptions {
  readonly agent: Agent
  /** Node with the toolchains beside it. */
  readonly runtime: () => RuntimeBuild
  readonly clock: Clock
  readonly arch: Arch
  /** Names of builds under way, for whoever has to know them from functions: nobody else can know one. */
  readonly running: Set<string>
}

const buildMsMax = 600_000
const memoryMib = 3_072
/** Caches, sources and output of a build; in memory, as all of /tmp. */
const tmpMib = 4_096
const programBytesMax = limits.archive.bytesMax
/** The program, what the build printed before it, and what it leaves behind; of a larger cache the end tells that it was too large. */
const replyBytesMax = programBytesMax + 16 * 1024 * 1024 + 2 * cacheBytesMax
const detailLinesMax = 60
const lineBytesMax = 65_536

/** Builds are invocations of a function that nobody can call, on a runtime of its own, in a fresh Instance each. */
export function sandboxRun(options: SandboxRunOptions): RunInSandbox {
  return async (job, report) => {
    const version = versionOf(job, options)
    const { agent, running } = options
    const { project, functionName } = version
    running.add(functionName)
    try {
      await agent.deploy(version)
      job.signal.throwIfAborted()
      return await new Run(options, report).of(version, job)
    } finally {
      running.delete(functionName)
      await agent.evict({ project, functionName })
      await agent.forget(version)
      await agent.logs.delete(project, functionName)
    }
  }
}

function versionOf({ project, code }: SandboxJob, { runtime, clock, arch }: SandboxRunOptions): Version {
  const build = runtime()
  const sizes = { memoryMib, ephemeralMib: tmpMib, timeoutMs: buildMsMax, initTimeoutMs: 60_000, concurrency: 1 }
  return {
    project,
    functionName: `build-${randomUUID()}`,
    number: 1,
    config: {
      ...defaultConfig(arch),
      ...sizes,
      runtime: build.id,
      handler: 'index.handler',
      reuse: 'never',
      isolation: 'process',
    },
    codeDigest: code.digest,
    codeBytes: code.bytes,
    codeOrigin: null,
    layers: [],
    runtimeId: build.id,
    runtimeVersion: build.version,
    runtimeDigest: build.digest,
    policyDigest: code.digest,
    createdAt: clock.nowMs(),
  }
}

/** Reads the runner's answer: lines of JSON, then the program, then perhaps a cache. */
class Run {
  readonly #options: SandboxRunOptions
  readonly #report: (line: string) => void
  readonly #lines: string[] = []
  #rest = Buffer.alloc(0)
  #failed: string | null = null
  #said = ''
  #cacheFailed: string | null = null
  #isCacheNext = false
  #programBytes = -1
  readonly #program: Buffer[] = []
  #received = 0

  constructor(options: SandboxRunOptions, report: (line: string) => void) {
    this.#options = options
    this.#report = report
  }

  async of(version: Version, job: SandboxJob): Promise<SandboxResult> {
    const result = await this.#execute(version, job)
    const failure = failureOf(result)
    const isWhole = this.#received > 0 && this.#received === this.#programBytes
    // Once the program came out whole it counts, whatever became of the cache behind it.
    const why = this.#failed ?? (isWhole && this.#isCacheNext && !job.signal.aborted ? null : failure)
    if (why !== null) {
      const hint = failureHint(this.#lines)
      const message = `Cannot build: ${why}.${hint === null ? '' : ` ${hint}`}`
      throw new AppError('guest_failed', message, { detail: this.#lines.join('\n') })
    }
    const program = Buffer.concat(this.#program)
    if (!isWhole)
      throw new AppError('guest_failed', 'Cannot build: no program came out.', { detail: this.#lines.join('\n') })
    const isCacheWhole = this.#isCacheNext && failure === null
    return { program, said: this.#said, cacheFailed: this.#cacheFailed, isCacheWhole }
  }

  async #execute(version: Version, { event, signal, sink, cache }: SandboxJob): Promise<AttemptResult> {
    const { agent, clock } = this.#options
    const acceptedAt = clock.nowMs()
    return new Promise((resolve) => {
      let taking: Promise<void> = Promise.resolve()
      let owedBytes = 0
      let call: ExecuteCall | null = null
      const credit = (): void => {
        if (call === null || owedBytes === 0) return
        call.send({ type: 'credit', bytes: owedBytes })
        owedBytes = 0
      }
      call = agent.execute(
        {
          invocationId: randomUUID(),
          version,
          ownerEpoch: 1,
          acceptedAt,
          deadline: acceptedAt + buildMsMax,
          contentType: 'application/json',
          traceparent: null,
          coldHint: null,
          wantLogTail: false,
          isStreamed: true,
          replyBytesMax,
        },
        (frame) => {
          if (frame.type === 'result') return void taking.then(() => resolve(frame.result))
          if (frame.type !== 'data') return
          const { program, left } = this.#take(Buffer.from(frame.chunk))
          owedBytes += frame.chunk.length
          if (program !== null && sink === undefined) this.#program.push(program)
          const takers = [
            ...(program !== null && sink !== undefined ? [sink(program)] : []),
            ...(left !== null && cache !== undefined ? [cache.write(left)] : []),
          ]
          if (takers.length === 0) return credit()
          // Who takes the pieces knows what failed, and aborts.
          taking = Promise.all([taking, ...takers]).then(credit, () => undefined)
        },
      )
      call.send({ type: 'data', chunk: Buffer.from(event), last: true })
      signal.addEventListener('abort', () => call.send({ type: 'cancel', reason: 'nobody waits for this build' }))
      credit()
    })
  }

  /** What of the chunk belongs to the program, and what lies behind that. */
  #take(chunk: Buffer): { program: Buffer | null; left: Buffer | null } {
    if (this.#programBytes >= 0) return this.#takeProgram(chunk)
    this.#rest = Buffer.concat([this.#rest, chunk])
    for (let at = this.#rest.indexOf(10); at >= 0 && this.#programBytes < 0; at = this.#rest.indexOf(10)) {
      const line = this.#rest.toString('utf8', 0, at)
      this.#rest = this.#rest.subarray(at + 1)
      this.#say(line)
    }
    if (this.#programBytes >= 0) return this.#takeProgram(this.#rest)
    // No line of a compiler is as long: what is left of it is not kept.
    if (this.#rest.length > lineBytesMax) this.#rest = this.#rest.subarray(-lineBytesMax)
    return { program: null, left: null }
  }

  #takeProgram(chunk: Buffer): { program: Buffer | null; left: Buffer | null } {
    // Without a cache there is nothing behind the program: what has more bytes than it said is none.
    const bytes = this.#isCacheNext ? Math.min(chunk.length, this.#programBytes - this.#received) : chunk.length
    this.#received += bytes
    const [program, left] = [chunk.subarray(0, bytes), chunk.subarray(bytes)]
    return {
      program: bytes > 0 && this.#received <= this.#programBytes ? program : null,
      left: left.length > 0 ? left : null,
    }
  }

  /** Whatever ran in the sandbox may have written it. */
  #say(text: string): void {
    const message = parse(text)
    const { step, line, version, failed, cacheFailed, programBytes, isCacheNext } = message
    if (typeof version === 'string') this.#said = version.slice(0, 200)
    if (typeof step === 'string') this.#report(`${step} ...`)
    if (typeof line === 'string') {
      this.#lines.push(line)
      if (this.#lines.length > detailLinesMax) this.#lines.shift()
      this.#report(line)
    }
    if (typeof failed === 'string') this.#failed = failed
    if (typeof cacheFailed === 'string') this.#cacheFailed = cacheFailed.slice(0, 200)
    if (isCacheNext === true) this.#isCacheNext = true
    if (typeof programBytes === 'number' && programBytes > 0 && programBytes <= programBytesMax)
      this.#programBytes = programBytes
  }
}

function failureOf({ outcome, error, refused }: AttemptResult): string | null {
  if (refused !== null) return refused.message
  return outcome === 'succeeded' ? null : (error?.errorMessage ?? outcome)
}

function parse(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value)) : {}
  } catch {
    return {}
  }
}
