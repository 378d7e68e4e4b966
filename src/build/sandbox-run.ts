import { randomUUID } from 'node:crypto'
import type { Agent, AttemptResult, ExecuteCall } from '../domain/agent.ts'
import type { Artifact } from '../domain/artifact.ts'
import { defaultConfig } from '../domain/default-config.ts'
import type { Clock } from '../domain/clock.ts'
import { AppError } from '../domain/error.ts'
import type { Arch, Version } from '../domain/function.ts'
import { limits } from '../domain/limits.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'
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
}

export interface SandboxResult {
  readonly program: Buffer
  /** By the compiler of its version; empty where it said nothing. */
  readonly said: string
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
/** The program and what the build printed before it. */
const replyBytesMax = programBytesMax + 16 * 1024 * 1024
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

/** Reads the runner's answer: lines of JSON, then the program. */
class Run {
  readonly #options: SandboxRunOptions
  readonly #report: (line: string) => void
  readonly #lines: string[] = []
  #rest = Buffer.alloc(0)
  #failed: string | null = null
  #said = ''
  #programBytes = -1
  readonly #program: Buffer[] = []
  #received = 0

  constructor(options: SandboxRunOptions, report: (line: string) => void) {
    this.#options = options
    this.#report = report
  }

  async of(version: Version, job: SandboxJob): Promise<SandboxResult> {
    const result = await this.#execute(version, job)
    const why = this.#failed ?? failureOf(result)
    if (why !== null) {
      const hint = failureHint(this.#lines)
      const message = `Cannot build: ${why}.${hint === null ? '' : ` ${hint}`}`
      throw new AppError('guest_failed', message, { detail: this.#lines.join('\n') })
    }
    const program = Buffer.concat(this.#program)
    if (this.#received === 0 || this.#received !== this.#programBytes)
      throw new AppError('guest_failed', 'Cannot build: no program came out.', { detail: this.#lines.join('\n') })
    return { program, said: this.#said }
  }

  async #execute(version: Version, { event, signal, sink }: SandboxJob): Promise<AttemptResult> {
    const { agent, clock } = this.#options
    const acceptedAt = clock.nowMs()
    return new Promise((resolve) => {
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
          if (frame.type === 'result') return resolve(frame.result)
          if (frame.type !== 'data') return
          const program = this.#take(Buffer.from(frame.chunk))
          owedBytes += frame.chunk.length
          if (program === null || sink === undefined) {
            if (program !== null) this.#program.push(program)
            return credit()
          }
          // Who takes the pieces knows what failed, and aborts.
          void sink(program).then(credit, () => undefined)
        },
      )
      call.send({ type: 'data', chunk: Buffer.from(event), last: true })
      signal.addEventListener('abort', () => call.send({ type: 'cancel', reason: 'nobody waits for this build' }))
      credit()
    })
  }

  /** What of the chunk belongs to the program; null while there are lines before it. */
  #take(chunk: Buffer): Buffer | null {
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
    return null
  }

  #takeProgram(chunk: Buffer): Buffer | null {
    this.#received += chunk.length
    return this.#received <= this.#programBytes ? chunk : null
  }

  /** Whatever ran in the sandbox may have written it. */
  #say(text: string): void {
    const message = parse(text)
    const { step, line, version, failed, programBytes } = message
    if (typeof version === 'string') this.#said = version.slice(0, 200)
    if (typeof step === 'string') this.#report(`${step} ...`)
    if (typeof line === 'string') {
      this.#lines.push(line)
      if (this.#lines.length > detailLinesMax) this.#lines.shift()
      this.#report(line)
    }
    if (typeof failed === 'string') this.#failed = failed
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
