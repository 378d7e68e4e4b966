import { AppError } from '../../domain/error.ts'
import { spawn } from 'node:child_process'

export interface Builder {
  readonly uid: number
  readonly gid: number
}

export interface BuildStepsOptions {
  readonly builder: Builder | null
  /** For all steps together. */
  readonly timeLimitMs: number
  readonly signal?: AbortSignal
}

/** What a failing compiler said last. */
const keptLines = 30

/** Where the steps' programs are looked for. */
export const programFolders = ['/usr/local/bin', '/usr/bin', '/bin'] as const

/** Everything but these is the caller's own business. The dates and names would else be in the kernel. */
const env = {
  PATH: programFolders.join(':'),
  LC_ALL: 'C.UTF-8',
  ARCH: 'x86_64',
  KBUILD_BUILD_TIMESTAMP: '1970-01-01',
  KBUILD_BUILD_USER: 'hearth',
  KBUILD_BUILD_HOST: 'hearth',
}

/** Runs commands one after the other, as the builder, at the lowest priority, within one time limit. */
export class BuildSteps {
  readonly #options: BuildStepsOptions
  readonly #deadlineMs: number

  constructor(options: BuildStepsOptions) {
    this.#options = options
    this.#deadlineMs = performance.now() + options.timeLimitMs
  }

  /** Resolves when the command ended with 0; each line of its output goes to `receive`. It and all its children are killed at the time limit or by the signal.
   *  Throws driver_failed (with the last lines), timeout. */
  async run(
    program: string,
    args: readonly string[],
    cwd: string,
    receive: (line: string) => void = () => {},
  ): Promise<void> {
    const { builder, signal, timeLimitMs } = this.#options
    const identity = builder === null ? {} : { uid: builder.uid, gid: builder.gid }
    const nice = ['-n', '19', program, ...args]
    const child = spawn('nice', nice, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'], ...identity })
    const { pid } = child
    let ending: 'timeout' | 'aborted' | null = null
    const end = (why: 'timeout' | 'aborted'): void => {
      ending ??= why
      if (pid !== undefined && child.exitCode === null) process.kill(-pid, 'SIGKILL')
    }
    const onAbort = (): void => end('aborted')
    const timer = setTimeout(() => end('timeout'), Math.max(0, this.#deadlineMs - performance.now()))
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted === true) onAbort()
    const last: string[] = []
    try {
      const code = await ended(child, (line) => {
        last.push(line)
        if (last.length > keptLines) last.shift()
        receive(line)
      })
      if (ending === 'timeout') throw late(timeLimitMs)
      if (ending === 'aborted')
        throw new AppError('driver_failed', 'The kernel was not built: interrupted.', { retryable: true })
      if (code !== 0) throw failed([program, ...args], last)
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
  }
}

function ended(child: ReturnType<typeof spawn>, receive: (line: string) => void): Promise<number | string> {
  for (const stream of [child.stdout, child.stderr]) {
    let rest = ''
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) receive(line)
    })
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve(code ?? signal ?? 1))
  })
}

function failed(command: readonly string[], last: readonly string[]): AppError {
  return new AppError('driver_failed', `Cannot build the kernel: "${command.slice(0, 3).join(' ')}" failed.`, {
    detail: last.join('\n'),
  })
}

function late(timeLimitMs: number): AppError {
  return new AppError(
    'timeout',
    `The kernel was not built within ${Math.round(timeLimitMs / 1000)} s. Try again with a longer --time-limit.`,
  )
}
