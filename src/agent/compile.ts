import type { ArtifactStore } from '../domain/artifact.ts'
import type { Clock } from '../domain/clock.ts'
import { AppError, toAppError } from '../domain/error.ts'
import { versionKey, type Version } from '../domain/function.ts'
import type { FunctionError } from '../domain/invocation.ts'
import type { Logger } from '../domain/logger.ts'
import type { RuntimeBuild, RuntimeFamily } from '../domain/runtime.ts'
import { bindMessage, bindSpec, type PlaceNames } from './binding.ts'
import { bytecodeOf } from './code-cache.ts'
import type { Trees } from './code-trees.ts'
import { packBytesMax, parseFilePack, type PackedFile } from './file-pack.ts'
import type { Instance } from './instance.ts'
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

export interface CompileOptions {
  readonly version: Version
  readonly trees: Trees
  /** The same as erofs, for a microVM. */
  readonly image: () => Promise<string | null>
  readonly build: RuntimeBuild
  readonly artifacts: ArtifactStore
  readonly clock: Clock
  readonly logger: Logger
  readonly names: PlaceNames
  readonly boot: () => Promise<Instance>
  readonly report: (line: string) => void
}

const compileMsMax = 60_000
/** Below this much source there is nothing to gain: V8 compiles 64 KiB lazily in about a millisecond. Python's compiler alone, for one line of source,
 *  leaves 280 KiB of memory in each Instance that had to use it. */
const worthBytes: Readonly<Record<Exclude<RuntimeFamily, 'provided'>, { extension: RegExp; bytes: number }>> = {
  node: { extension: /\.[cm]?js$/, bytes: 64 * 1024 },
  python: { extension: /\.py$/, bytes: 1 },
}
/** Looking is bounded too: a tree with more entries than this is worth compiling anyway. */
const entriesMax = 2_000

/** Compiles the code of `version` in a sandbox of its own and keeps the result; returns its folder, or null when there is none.
 *  A failure of the user's code is reported and costs nothing but speed. Throws driver_failed when the sandbox itself fails. */
export async function makeBytecode(options: CompileOptions): Promise<string | null> {
  const { version, trees, build, artifacts, logger, report } = options
  if (build.family === 'provided' || build.isBridged || !(await isWorth(trees.folder, worthBytes[build.family])))
    return null
  try {
    return await artifacts.derived(bytecodeOf(version), async (target) => {
      const files = await compile(options)
      await writeFiles(target, files)
      report(`Compiled ${files.length} files.`)
    })
  } catch (thrown) {
    const error = toAppError(thrown)
    if (error.code === 'driver_failed') throw error
    logger.warn('compile.failed', { version: versionKey(version), error: error.message, detail: error.detail })
    report(`Not compiled ahead, starts will be slower: ${error.message}`)
    return null
  }
}

async function isWorth(folder: string, { extension, bytes }: { extension: RegExp; bytes: number }): Promise<boolean> {
  let sum = 0
  let seen = 0
  for (const queue = [folder]; queue.length > 0;) {
    const here = queue.pop() ?? folder
    for (const entry of await readdir(here, { withFileTypes: true })) {
      if (++seen > entriesMax) return true
      const path = join(here, entry.name)
      if (entry.isDirectory()) queue.push(path)
      else if (entry.isFile() && extension.test(entry.name)) sum += (await stat(path)).size
      if (sum >= bytes) return true
    }
  }
  return false
}

async function compile(options: CompileOptions): Promise<PackedFile[]> {
  const { version, trees, image, clock, names } = options
  const instance = await options.boot()
  try {
    const code = { ...trees, cacheFolder: null, image: await image() }
    const files = await instance.sandbox.bind({ ...bindSpec(version, code), network: 'none' })
    instance.state = 'binding'
    instance.link.bind(
      bindMessage(version, {
        instance: instance.id,
        files,
        secretEnv: null,
        names,
        purpose: 'compile',
        container: null,
      }),
    )
    return parseFilePack(await receivePack(instance, clock))
  } finally {
    await instance.kill()
  }
}

/** One INVOKE of kind compile; rejects with guest_failed for everything that the user's code or runtime can cause. */
async function receivePack(instance: Instance, clock: Clock): Promise<Buffer> {
  const parts: Buffer[] = []
  let bytes = 0
  return new Promise((resolve, reject) => {
    const timer = clock.schedule(compileMsMax, () => fail(`it took longer than ${compileMsMax / 1000} s`))
    const fail = (why: string): void => {
      timer.cancel()
      reject(new AppError('guest_failed', `Cannot compile: ${why}.`))
    }
    const failWith = ({ errorType, errorMessage }: FunctionError): void => fail(`${errorType}: ${errorMessage}`)
    instance.owner = {
      onLoaded: () => {},
      onLoadFailed: (_instance, error) => failWith(error),
      onDead: (_instance, { exit, breach }) => fail(breach ?? `the runtime ended (${exit?.signal ?? exit?.code})`),
      onQuiet: () => {},
    }
    const deadlineMs = clock.nowMs() + compileMsMax
    const stream = instance.link.invoke(
      { id: 'compile', deadlineMs, contentType: 'application/json', traceparent: null, kind: 'compile' },
      {
        onHead: () => {},
        onData: (chunk) => {
          bytes += chunk.length
          if (bytes > packBytesMax) return fail(`more than ${packBytesMax} bytes came back`)
          parts.push(chunk)
          stream.credit(chunk.length)
        },
        onEnd: () => {
          timer.cancel()
          resolve(Buffer.concat(parts))
        },
        onFail: failWith,
        onIdle: () => {},
      },
    )
    stream.write(Buffer.from('{}'), true)
  })
}

async function writeFiles(target: string, files: readonly PackedFile[]): Promise<void> {
  const folders = new Set(files.map(({ path }) => dirname(join(target, path))))
  for (const folder of folders) await mkdir(folder, { recursive: true })
  for (const { path, bytes } of files) await writeFile(join(target, path), bytes, { flag: 'wx', mode: 0o644 })
}
