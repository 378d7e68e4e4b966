import type { Arch } from '../domain/function.ts'

/** What compilers call a processor. */
export interface Target {
  readonly goarch: string
  /** Rust's, of Linux with glibc. */
  readonly triple: string
  /** The C linker for it where this machine is another; in /usr/bin, as Debian's package of the same name has it. */
  readonly linker: string
}

export const targets: Readonly<Record<Arch, Target>> = {
  x86_64: { goarch: 'amd64', triple: 'x86_64-unknown-linux-gnu', linker: 'x86_64-linux-gnu-gcc' },
  arm64: { goarch: 'arm64', triple: 'aarch64-unknown-linux-gnu', linker: 'aarch64-linux-gnu-gcc' },
}

/** Of this machine. */
export const thisArch: Arch = process.arch === 'arm64' ? 'arm64' : 'x86_64'
