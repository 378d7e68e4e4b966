import type { Digest } from './artifact.ts'

/** What turns a handler into something invocable. `node` and `python` name the newest installed, pinned at deploy. */
export const runtimeFamilies = ['node', 'python'] as const
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
] as const
export type RuntimeId = (typeof runtimeIds)[number]

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
}

/** What an interpreter is started with, by whoever starts the shim: bytecode is valid only under the flags it was made under.
 *  Node: the heap grows slowly, and before Node 22 its young part is small as it is; runtimes/node/heap.cjs says why and has the figures.
 *  Python: isolated from its environment, and without site-packages: the shim adds what user code may see. */
export function interpreterFlags({ family, version }: Pick<RuntimeBuild, 'family' | 'version'>): string[] {
  if (family === 'python') return ['-I', '-S']
  return ['--heap-growing-percent=100', ...(Number.parseInt(version, 10) >= 22 ? ['--semi-space-growth-factor=1'] : [])]
}

/** Names the shim's bundle made for a build: 16 hexadecimal digits. */
export const bundleName = ({ digest }: Pick<RuntimeBuild, 'digest'>): string => digest.slice('sha256:'.length, 23)

/** Runtimes of this node. */
export interface RuntimeCatalog {
  list(): readonly RuntimeBuild[]
  /** The build that `name` means now: an id, `node`, `python`, or AWS's `nodejs24.x`.
   *  Throws invalid (unknown name, with the nearest that works; or known but not installed, with the command that installs it). */
  resolve(name: string): RuntimeBuild
  /** The build a Version was pinned to. Throws not_found when this node no longer has it. */
  pinned(digest: Digest): RuntimeBuild
}
