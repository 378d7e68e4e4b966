import type { Digest } from './artifact.ts'
import type { Arch } from './function.ts'

/** What images call the processors. */
export const imageArchitectures: Readonly<Record<Arch, string>> = { x86_64: 'amd64', arm64: 'arm64' }

/** What an OCI image says of the program in it. */
export interface ContainerFacts {
  /** Of its manifest; null for a docker-archive, which has none. */
  readonly manifest: Digest | null
  /** ENTRYPOINT, then CMD: what starts when the Version has no command of its own. */
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** WORKDIR; `/` where the image names none. */
  readonly workdir: string
  /** The name of its USER, `function` where that is root, nobody's or not given: who runs it is another, and is called so. */
  readonly user: string
}

/** An image with its layers laid over one another: a root file system that nobody writes to. */
export interface ContainerRoot {
  readonly folder: string
  /** Of all files. */
  readonly bytes: number
  readonly entries: number
  readonly facts: ContainerFacts
}
