import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, watch } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '../..')
/** The real ones where there are some; else the simulator in test/fc-sim. */
export const hasRealFirecracker =
  process.env['FIRECRACKER_BIN'] !== undefined && process.env['JAILER_BIN'] !== undefined
export const firecrackerProgram =
  (hasRealFirecracker ? process.env['FIRECRACKER_BIN'] : undefined) ?? path.join(root, 'test/fc-sim/firecracker')
export const jailerProgram =
  (hasRealFirecracker ? process.env['JAILER_BIN'] : undefined) ?? path.join(root, 'test/fc-sim/jailer')
/** A guest is booted by the probe, and the first time its image is made. */
const startTimeoutMs = 120_000
/** The whole suite can run on another driver: `HEARTH_TEST_DRIVER=qemu npm test -- test/e2e/behaviour.test.ts`; also firecracker. */
export const testDriver = process.env['HEARTH_TEST_DRIVER']

export interface PlatformOptions {
  /** Data folder; default: a fresh temporary one, removed by `stop`. */
  readonly data?: string
  /** Folders between a fresh data folder and the temporary one. */
  readonly below?: string
  /** Leave the data folder in place at `stop`. */
  readonly keepData?: boolean
  readonly env?: Readonly<Record<string, string>>
  /** Further flags of `hearth up`. */
  readonly flags?: readonly string[]
  /** Command that runs the platform, e.g. `ip netns exec NAME`. */
  readonly prefix?: readonly string[]
  /** Kills what has started so far, with SIGKILL, while it is not ready. */
  readonly signal?: AbortSignal
}

export interface CliResult {
  readonly stdout: string
  readonly stderr: string
  readonly code: number
}

/** A real platform, started as a user would: `bin/hearth up` on port 0, ready file awaited. */
export interface Platform {
  readonly url: string
  /** Where functions' URLs are served. */
  readonly urlsUrl: string
  readonly apiKey: string
  /** The platform's own process, as the ready file names it. */
  readonly pid: number
  /** What `hearth up` has become: the launcher. */
  readonly launcherPid: number
  readonly data: string
  /** Everything `hearth up` wrote to stdout and stderr so far. */
  output(): string
  /** Runs `bin/hearth` against this platform; never rejects for an exit code. */
  cli(args: readonly string[], input?: string): Promise<CliResult>
  /** SIGTERM; resolves with the exit code once the whole process tree of `hearth up` has ended. */
  stop(): Promise<number | null>
  /** Resolves when `hearth up` has ended, by whatever. */
  ended(): Promise<void>
  /** SIGKILL to the platform's own process; resolves when `hearth up` has ended. */
  kill9(): Promise<void>
  /** SIGKILL to the launcher; resolves when it and the platform's own process have ended. */
  killLauncher9(): Promise<void>
}

interface ReadyFile {
  readonly url: string
  readonly urlsUrl: string
  readonly apiKeyFile: string
  readonly pid: number
}

export async function startPlatform(options: PlatformOptions = {}): Promise<Platform> {
  const scratch = await mkdtemp(path.join(os.tmpdir(), 'hearth-test-'))
  const data = options.data ?? path.join(scratch, options.below ?? '', 'data')
  const readyFile = path.join(scratch, 'ready.json')
  await mkdir(path.dirname(data), { recursive: true })
  const up = [path.join(root, 'bin/hearth'), 'up', '--port', '0', '--data', data, '--ready-file', readyFile]
  if (testDriver !== undefined) up.push('--driver', testDriver)
  if (testDriver === 'firecracker') up.push('--firecracker', firecrackerProgram, '--jailer', jailerProgram)
  const [program = '', ...args] = [...(options.prefix ?? []), ...up, ...(options.flags ?? [])]
  const env = { ...process.env, ...options.env }
  const child = spawn(program, args, { cwd: scratch, env, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const kill = (): void => void child.kill('SIGKILL')
  options.signal?.addEventListener('abort', kill)
  try {
    await readyOrEnd(child, readyFile, () => output)
  } catch (error) {
    kill()
    throw error
  } finally {
    options.signal?.removeEventListener('abort', kill)
  }
  const ready = JSON.parse(await readFile(readyFile, 'utf8')) as ReadyFile
  const apiKey = (await readFile(ready.apiKeyFile, 'utf8')).trim()
  const ended = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  }
  const clean = async (): Promise<void> => {
    if (options.keepData !== true) await rm(data, { recursive: true, force: true })
    await rm(scratch, { recursive: true, force: true })
  }
  return {
    url: ready.url,
    urlsUrl: ready.urlsUrl,
    apiKey,
    pid: ready.pid,
    launcherPid: child.pid ?? 0,
    data,
    output: () => output,
    cli: async (args, input) =>
      runCli(args, {
        env: { HEARTH_URL: ready.url, HEARTH_API_KEY: apiKey },
        ...(input === undefined ? {} : { input }),
      }),
    ended,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
      await ended()
      await clean()
      return child.exitCode
    },
    async kill9() {
      process.kill(ready.pid, 'SIGKILL')
      await ended()
      await clean()
    },
    async killLauncher9() {
      kill()
      await ended()
      while (existsSync(`/proc/${ready.pid}`)) await new Promise((resolve) => setTimeout(resolve, 10))
      await clean()
    },
  }
}

/** Runs `bin/hearth` with `args`; resolves with what it printed and its exit code. */
export async function runCli(
  args: readonly string[],
  options: { env?: Readonly<Record<string, string>>; input?: string; cwd?: string } = {},
): Promise<CliResult> {
  return new Promise((resolve) => {
    const settings = {
      env: { ...process.env, ...options.env },
      maxBuffer: 64 * 2 ** 20,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    }
    const child = execFile(path.join(root, 'bin/hearth'), [...args], settings, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 9
      resolve({ stdout, stderr, code })
    })
    child.stdin?.end(options.input ?? '')
  })
}

/** Resolves when the ready file appears (it is renamed into place); rejects when the process ends first or takes too long. */
async function readyOrEnd(child: ChildProcess, readyFile: string, output: () => string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const watcher = watch(path.dirname(readyFile), () => {
      if (existsSync(readyFile)) settle(null)
    })
    const timer = setTimeout(
      () => settle(new Error(`hearth up was not ready after ${startTimeoutMs} ms:\n${output()}`)),
      startTimeoutMs,
    )
    const onExit = (code: number | null): void =>
      settle(new Error(`hearth up ended with ${code} before it was ready:\n${output()}`))
    child.once('exit', onExit)
    function settle(error: Error | null): void {
      watcher.close()
      clearTimeout(timer)
      child.off('exit', onExit)
      if (error === null) resolve()
      else reject(error)
    }
    if (existsSync(readyFile)) settle(null)
  })
}
