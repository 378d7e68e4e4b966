import type { Digest } from '../../domain/artifact.ts'
import { kernelKinds, kernelProfiles, type KernelBuild } from '../../domain/image.ts'
import { readVmlinux } from './vmlinux.ts'
import { createHash, randomUUID } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'

/* Kernels in a folder:
 *
 *    kernels/<hex>/vmlinux, initramfs, kernel.json    of one digest; appears by rename
 *    kernels/current                                  hex of the one that was built or given last
 */

export interface NewKernel extends Pick<KernelBuild, 'kind' | 'profile'> {
  readonly vmlinux: Buffer
  readonly initramfs: Buffer | null
  /** What it was made from, in words. */
  readonly origin: string
  /** The same key is the same kernel: source, configuration and compiler, or package and guest program. */
  readonly key: string
}

export interface ShelvedKernel extends KernelBuild {
  readonly origin: string
  readonly key: string
  readonly bytes: number
  readonly builtAt: number
}

/** Stores a kernel under its digest. Throws invalid when it is none that a microVM can start. */
export function shelveKernel(folder: string, kernel: NewKernel): ShelvedKernel {
  const { vmlinux, initramfs, ...about } = kernel
  const { release, needsAcpi } = readVmlinux(vmlinux, about.origin)
  const hash = createHash('sha256').update(vmlinux)
  if (initramfs !== null) hash.update('initramfs').update(initramfs)
  const hex = hash.digest('hex')
  const target = path.join(folder, 'kernels', hex)
  const known = readKernel(target)
  if (known?.key === about.key) return known
  const draft = path.join(folder, 'tmp', randomUUID())
  mkdirSync(draft, { recursive: true, mode: 0o755 })
  try {
    const bytes = vmlinux.length + (initramfs?.length ?? 0)
    const facts = { ...about, release, needsAcpi, hasInitramfs: initramfs !== null, bytes, builtAt: Date.now() }
    const factsFile = path.join(draft, 'kernel.json')
    writeFileSync(factsFile, `${JSON.stringify(facts, null, 2)}\n`, { mode: 0o644, flush: true })
    // The same kernel from another origin: a VM may be reading its files just now.
    if (known !== null) renameSync(factsFile, path.join(target, 'kernel.json'))
    else {
      writeFileSync(path.join(draft, 'vmlinux'), vmlinux, { mode: 0o644, flush: true })
      if (initramfs !== null) writeFileSync(path.join(draft, 'initramfs'), initramfs, { mode: 0o644, flush: true })
      mkdirSync(path.dirname(target), { recursive: true })
      publish(draft, target)
    }
  } finally {
    rmSync(draft, { recursive: true, force: true })
  }
  const shelved = readKernel(target)
  if (shelved === null) throw new Error(`The kernel just stored in "${target}" cannot be read.`)
  return shelved
}

/** Another process may have stored the same kernel since it was looked for: that one stays, somebody may boot it already. */
function publish(draft: string, target: string): void {
  try {
    return renameSync(draft, target)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOTEMPTY')) throw error
  }
  if (readKernel(target) !== null) return
  // Damaged: out of the way first, since a folder cannot be replaced in one step.
  const damaged = path.join(path.dirname(draft), randomUUID())
  renameSync(target, damaged)
  renameSync(draft, target)
  rmSync(damaged, { recursive: true, force: true })
}

/** Every kernel of the folder, newest first. */
export function shelvedKernels(folder: string): ShelvedKernel[] {
  const shelf = path.join(folder, 'kernels')
  return namesIn(shelf)
    .flatMap((name) => readKernel(path.join(shelf, name)) ?? [])
    .sort((a, b) => b.builtAt - a.builtAt)
}

/** The one that `useKernel` named, or null. */
export function currentKernel(folder: string): ShelvedKernel | null {
  try {
    const hex = readFileSync(path.join(folder, 'kernels/current'), 'utf8').trim()
    return /^[0-9a-f]{64}$/.test(hex) ? readKernel(path.join(folder, 'kernels', hex)) : null
  } catch {
    return null // None was named yet.
  }
}

export function useKernel(folder: string, { digest }: KernelBuild): void {
  const file = path.join(folder, 'kernels/current')
  const draft = `${file}.${randomUUID()}`
  writeFileSync(draft, `${digest.slice('sha256:'.length)}\n`, { mode: 0o644, flush: true })
  renameSync(draft, file)
}

export function removeKernel(folder: string, { digest }: Pick<KernelBuild, 'digest'>): void {
  rmSync(path.join(folder, 'kernels', digest.slice('sha256:'.length)), { recursive: true, force: true })
}

/** null for what is no whole kernel: of another version of Hearth, or damaged. */
function readKernel(folder: string): ShelvedKernel | null {
  try {
    const facts: Record<string, unknown> = JSON.parse(readFileSync(path.join(folder, 'kernel.json'), 'utf8'))
    const kind = kernelKinds.find((each) => each === facts['kind'])
    const profile = kernelProfiles.find((each) => each === facts['profile']) ?? null
    const { release, key, origin, bytes, builtAt } = facts
    const vmlinux = path.join(folder, 'vmlinux')
    const initramfs = facts['hasInitramfs'] === true ? path.join(folder, 'initramfs') : null
    const digest: Digest = `sha256:${path.basename(folder)}`
    const onDisk = [vmlinux, initramfs].reduce((sum, file) => sum + (file === null ? 0 : statSync(file).size), 0)
    if (kind === undefined || typeof release !== 'string' || typeof key !== 'string' || typeof origin !== 'string')
      return null
    if (onDisk !== bytes || typeof builtAt !== 'number') return null
    const needsAcpi = facts['needsAcpi'] === true
    return { digest, vmlinux, initramfs, kind, profile, needsAcpi, release, origin, key, bytes: onDisk, builtAt }
  } catch {
    return null
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => /^[0-9a-f]{64}$/.test(name))
  } catch {
    return [] // No kernel was stored here yet.
  }
}
