import type { Language } from '../domain/build.ts'
import type { Target } from './targets.ts'

/** One program to run in the sandbox. */
export interface Step {
  readonly title: string
  readonly argv: readonly string[]
  /** What it prints is the compiler's version, not a line of the build. */
  readonly isVersion?: boolean
}

/** What a build leaves for the next one: all names are below /tmp, with `/` between. */
export interface CacheRule {
  readonly folders: readonly string[]
  /** Patterns of the files in them that are kept, and of those that are not even so. */
  readonly keep: string
  readonly omit: string
}

/** Something that every project may have, because no line of any project went into it: made once for a toolchain, on top of the parts before it. */
export interface SharedPart {
  readonly title: string
  readonly files: ReadonlyMap<string, string>
  readonly steps: readonly Step[]
}

/** What the sandbox is to do with a source. */
export interface Plan {
  /** Files to add to the source or to put in place of its own: name and text. */
  readonly files: ReadonlyMap<string, string>
  readonly steps: readonly Step[]
  /** Folders of the source whose names change with their content: they get a time long ago, so that what was compiled of them stays good. */
  readonly lasting: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Where the program is found after the steps: a file, or a folder with one program in it. */
  readonly output: string
  /** It speaks frames: its main is ours. */
  readonly isNative: boolean
  readonly cache: CacheRule
  readonly shared: readonly SharedPart[]
}

/** A source's text files by name, `/` between names; assets are left out. */
export type Source = ReadonlyMap<string, string>

export interface PlanOptions {
  readonly source: Source
  readonly handler: string
  /** Files of our own shim by name. */
  readonly shim: Source
  readonly runtime: string
  /** Version of the toolchain on this machine. */
  readonly version: string
  readonly target: Target
}

/** Where the source lies in the sandbox while it is built. */
export const workFolder = '/tmp/source'
export const outFolder = '/tmp/out'

const sources: Readonly<Record<Language, RegExp>> = {
  go: /(\.go|(^|\/)go\.(mod|sum|work|work\.sum))$|(^|\/)vendor\//,
  rust: /\.rs$|(^|\/)Cargo\.(toml|lock)$|(^|\/)\.cargo\/|(^|\/)target\//,
}

/** What the program was made of has no place beside it; everything else is an asset that it may read. */
export function isAsset(language: Language, name: string): boolean {
  return !sources[language].test(name)
}
