import { AppError } from '../../domain/error.ts'
import { readElfSection } from '../elf.ts'
import { unxz } from './bzimage.ts'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { zstdDecompressSync } from 'node:zlib'

export interface KernelModule {
  readonly name: string
  readonly content: Buffer
}

/** Reads the modules `names`, and those that they depend on, from `folder` (`lib/modules/<release>`), in an order in which each finds what it needs.
 *  One of `names` that is not there is taken to be built in. Throws driver_failed when a dependency is missing. */
export function modulesInOrder(folder: string, names: readonly string[]): KernelModule[] {
  const files = moduleFiles(folder)
  const ordered = new Map<string, KernelModule>()
  const add = (name: string, neededBy: string | null): void => {
    if (ordered.has(name)) return
    const file = files.get(name)
    if (file === undefined && neededBy === null) return
    if (file === undefined)
      throw new AppError(
        'driver_failed',
        `Cannot use the kernel in "${folder}": module ${neededBy} needs ${name}, which is missing.`,
      )
    const content = unpack(readFileSync(file), file)
    for (const needed of dependenciesOf(content)) add(needed, name)
    ordered.set(name, { name, content })
  }
  for (const name of names) add(name, null)
  return [...ordered.values()]
}

/** By name, in which `-` and `_` are the same. */
function moduleFiles(folder: string): Map<string, string> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true })
  const found = entries.flatMap((entry): [string, string][] => {
    const name = /^(.+)\.ko(\.xz|\.zst)?$/.exec(entry.name)?.[1]
    return name === undefined || !entry.isFile() ? [] : [[plain(name), path.join(entry.parentPath, entry.name)]]
  })
  return new Map(found)
}

function unpack(content: Buffer, file: string): Buffer {
  if (file.endsWith('.xz')) return unxz(content)
  return file.endsWith('.zst') ? zstdDecompressSync(content) : content
}

/** A module says what it needs in its own `.modinfo`. */
function dependenciesOf(module: Buffer): string[] {
  const info = readElfSection(module, '.modinfo')?.toString('latin1') ?? ''
  const depends =
    info
      .split('\0')
      .find((entry) => entry.startsWith('depends='))
      ?.slice('depends='.length) ?? ''
  return depends.split(',').filter(Boolean).map(plain)
}

function plain(name: string): string {
  return name.replaceAll('-', '_')
}
