import type { PackageTool } from '../domain/build.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'
import type { Step } from './plan.ts'

/** What the sandbox is to do so that a source has the packages that it names beside it. */
export interface PackagePlan {
  readonly steps: readonly Step[]
  readonly env: Readonly<Record<string, string>>
  /** As provenance names it: the tool and what it ran on. */
  readonly toolchain: string
  /** The file that is binding for what is installed; null where the newest that fits is taken. */
  readonly lock: string | null
  /** The file that names the packages. */
  readonly manifest: string
}

export interface PackagePlanOptions {
  /** Files at the top of the source that say what to install, by name. */
  readonly texts: ReadonlyMap<string, string>
  /** Those of this machine, newest first. */
  readonly tools: readonly PackageTool[]
  /** What the function will run on. */
  readonly interpreter: Interpreter
  /** What the builds' own sandbox runs on. */
  readonly runner: Interpreter
}

export interface Interpreter extends Pick<RuntimeBuild, 'version' | 'executable' | 'prefix'> {
  /** At its own path, in the sandbox of builds. */
  readonly isSeen: boolean
}

/** All files that a plan reads, or minds when they are there. */
export const plannedFiles: readonly string[] = [
  'package.json',
  'npm-shrinkwrap.json',
  'package-lock.json',
  'yarn.lock',
  'pnpm-lock.yaml',
  'bun.lock',
  'bun.lockb',
  'requirements.txt',
]

/** In PATH of a plan: the folder of the Node that the runner itself runs on, which only the sandbox knows. */
export const runnerFolder = '{runner}'
export const systemPath = '/usr/local/bin:/usr/bin:/bin'
/** All caches of a build; nothing of it goes into the bundle. */
export const cacheFolder = '/tmp/cache'
/** The bundle of certificates that Debian and its like keep. */
export const certificates = '/etc/ssl/certs/ca-certificates.crt'
