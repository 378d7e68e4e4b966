import type { Artifact, Digest } from './artifact.ts'
import type { Arch } from './function.ts'

export type Language = 'go' | 'rust'

/** A compiler found on this machine. */
export interface Toolchain {
  readonly language: Language
  /** As it prints it, e.g. `1.26.8`. */
  readonly version: string
  /** Holds `bin/go`, or `bin/cargo` and `bin/rustc`. */
  readonly folder: string
  /** What it can build for; the arch of this machine among them. */
  readonly arches: readonly Arch[]
}

/** An installer of packages found on this machine: its own program, without what it runs on. */
export interface PackageTool {
  readonly tool: 'npm' | 'pip'
  readonly version: string
  /** npm: holds `bin/npm-cli.js`. pip: holds the package `pip`. */
  readonly folder: string
}

export interface BuildRequest {
  readonly project: string
  /** A zip of the source. */
  readonly source: Digest
  /** As the user wrote it: `go`, `go1.22`, `rust`, `node24`, `python`. */
  readonly runtime: string
  /** `main.Handler`, `main::handler`; packages need none. */
  readonly handler: string
  readonly arch: Arch
}

/** Where a bundle came from; kept in it as `hearth-build.json`. */
export interface Provenance {
  readonly source: Digest
  /** Language and version, as the compiler itself said in the sandbox; or the installer and what it ran on. */
  readonly toolchain: string
  /** Of go.sum, Cargo.lock, package-lock.json or a requirements.txt with digests; null where the source has none. */
  readonly lock: Digest | null
  /** The program alone. With packages it is the whole bundle, and stands in the reply only: a bundle cannot hold its own digest, which is the Version's. */
  readonly output: Digest
  /** Null where packages were installed beside the code. */
  readonly program: 'bootstrap' | 'hearth-bootstrap' | null
  readonly arch: Arch
}

export interface Built {
  readonly artifact: Artifact
  readonly provenance: Provenance
}

/** Whoever waits for a build. */
export interface BuildWatch {
  /** Lines as they come. */
  readonly report: (line: string) => void
  /** Aborts when it is not wanted any more. */
  readonly signal: AbortSignal
}

/** For whom a build is made. */
export interface BuildOrder extends BuildWatch {
  /** These bytes came out and are of no use. Others may have stored the same: they go only if nobody needs them. */
  readonly discard: (digest: Digest) => Promise<void>
}

/** Makes a bundle that runs from source, in a sandbox of its own. */
export interface Builder {
  /** Throws invalid (source, runtime or handler that cannot be built), guest_failed (the compiler or installer
   *  said no, or `signal` aborted; its own words in `detail`), capacity, driver_failed. */
  build(request: BuildRequest, order: BuildOrder): Promise<Built>
}

export function languageOf(runtime: string): Language | null {
  return /^go(1\.\d+)?$/.test(runtime) ? 'go' : /^rust(1\.\d+)?$/.test(runtime) ? 'rust' : null
}

/** What installs the packages of a source for `runtime`; null where none does. */
export function packageToolOf(runtime: string): PackageTool['tool'] | null {
  if (/^node(js)?(\d+(\.x)?)?$/.test(runtime)) return 'npm'
  return /^python(3\.\d+)?$/.test(runtime) ? 'pip' : null
}
