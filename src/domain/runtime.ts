import type { Digest } from './artifact.ts'

/** What turns a handler into something invocable. `node` and `python` name the newest installed, pinned at deploy;
 *  `provided` is for programs that bring everything with them. */
export const runtimeFamilies = ['node', 'python', 'provided'] as const
export type RuntimeFamily = (typeof runtimeFamilies)[number]

export const runtimeIds = [
  'node18',
  'node20',
  'node22',
  'node24',
  'node26',
  'python3.11',
  'python3.12',
  'python3.13',
  'provided',
  'provided.al2',
  'provided.al2023',
  'http',
  'image',
  'go',
  'go1.21',
  'go1.22',
  'go1.23',
  'go1.24',
  'go1.25',
  'go1.26',
  'rust',
  'rust1.75',
  'rust1.85',
  'rust1.90',
  'rust1.95',
  'rust1.96',
] as const
/** A line of Go or Rust: those that are in no list yet are as good as those that are, where a compiler of it is. */
type NativeId = `go1.${number}` | `rust1.${number}`
export type RuntimeId = (typeof runtimeIds)[number] | NativeId

/** The oldest lines of Go and Rust that a source may name. */
export const oldestNative = { go: 21, rust: 75 } as const

/** `name` as an id; null where it is none, as with a line that is too old. */
export function runtimeIdOf(name: string): RuntimeId | null {
  return isNativeId(name) ? name : (runtimeIds.find((id) => id === name) ?? null)
}

function isNativeId(name: string): name is NativeId {
  const [, language, line] = /^(go|rust)1\.([1-9]\d{0,2})$/.exec(name) ?? []
  return line !== undefined && Number(line) >= (language === 'go' ? oldestNative.go : oldestNative.rust)
}

/** One interpreter found or installed on a node: exactly what a Version is pinned to. */
export interface RuntimeBuild {
  readonly id: RuntimeId
  readonly family: RuntimeFamily
  /** As the interpreter prints it, e.g. `26.10.0`. */
  readonly version: string
  /** Real path of the interpreter (`process.execPath`, `sys.executable` after symlinks), never a shim. */
  readonly executable: string
  /** Folder that must be visible in the sandbox beside /usr, e.g. sys.base_prefix; empty when it lies under /usr. */
  readonly prefix: string
  /** Digest over id, version, executable's size and mtime, and the shim's sources: a new shim is a new build. */
  readonly digest: Digest
  /** The guest program's bridge starts the user's own program beside this interpreter, in place of the shim. */
  readonly isBridged: boolean
  /** Digest of the build whose root image it runs in: its own, unless it is the bridged form of another. */
  readonly image: Digest
  /** Further folders that are visible in its sandboxes, read-only and at their own paths; for builds, where they are the toolchains. */
  readonly mounts?: readonly string[]
}

/** A runtime that is no interpreter, as a user chooses it. */
export interface OtherRuntime {
  readonly id: string
  /** What it is for. */
  readonly about: string
  /** What must be on this machine. */
  readonly needs: string
  /** Whether that is here. */
  readonly isHere: boolean
  /** Lines of the language that can be built here, newest first; empty where there are none. */
  readonly versions: readonly string[]
}

/** How the user's program is spoken to.
 *  `handler`: a shim calls its function. The others go through the bridge: `runtime-api`, the program polls Lambda's Runtime API; `http`, it serves HTTP on
 *  $PORT; `azure`, it is a custom handler of Azure Functions. */
export const contracts = ['handler', 'runtime-api', 'http', 'azure'] as const
export type Contract = (typeof contracts)[number]

/** Names a program that is started before the command of contract `runtime-api` and handed that command, as before the runtimes of Lambda. What starts
 *  itself there (a `bootstrap`, an image's own entry) finds the variable and nothing more, as on Lambda. */
export const execWrapper = 'AWS_LAMBDA_EXEC_WRAPPER'

/** What a runtime, as a user names it, is spoken to by when nothing else is said. */
export function defaultContract(runtime: string): Contract {
  if (runtime === 'http' || runtime === 'image') return 'http'
  return isProvided(runtime) ? 'runtime-api' : 'handler'
}

/** The program serves HTTP: it is given requests, not events made of them. */
export function isServer(contract: Contract): boolean {
  return contract === 'http' || contract === 'azure'
}

/** It has no shim of its own: `handler` is no contract of it. */
export function isProvided(runtime: string): boolean {
  return runtime === 'http' || runtime === 'image' || /^provided(\.|$)|^(go|rust)(1\.\d+)?$/.test(runtime)
}

export function familyOf(id: RuntimeId): RuntimeFamily {
  return id.startsWith('node') ? 'node' : id.startsWith('python') ? 'python' : 'provided'
}

/** What an interpreter is started with, by whoever starts the shim: bytecode is valid only under the flags it was made under.
 *  Node: the heap grows slowly, and before Node 22 its young part is small as it is; runtimes/node/heap.cjs says why and has the figures.
 *  Python: isolated from its environment, and without site-packages: the shim adds what user code may see. */
export function interpreterFlags({ family, version }: Pick<RuntimeBuild, 'family' | 'version'>): string[] {
  if (family === 'provided') return []
  if (family === 'python') return ['-I', '-S']
  return ['--heap-growing-percent=100', ...(Number.parseInt(version, 10) >= 22 ? ['--semi-space-growth-factor=1'] : [])]
}

/** Names the shim's bundle made for a build: 16 hexadecimal digits. */
export const bundleName = ({ digest }: Pick<RuntimeBuild, 'digest'>): string => digest.slice('sha256:'.length, 23)

/** Runtimes of this node. */
export interface RuntimeCatalog {
  list(): readonly RuntimeBuild[]
  others(): readonly OtherRuntime[]
  /** The build that `name` means now: an id, `node`, `python`, or AWS's `nodejs24.x`; in its bridged form for any contract but `handler`.
   *  Throws invalid (unknown name, with the nearest that works; or known but not installed, with the command that installs it). */
  resolve(name: string, contract?: Contract): RuntimeBuild
  /** The build a Version was pinned to. Throws not_found when this node no longer has it. */
  pinned(digest: Digest): RuntimeBuild
}
