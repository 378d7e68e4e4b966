import type { Digest } from '../domain/artifact.ts'
import { AppError } from '../domain/error.ts'
import { codeImageBytes, type CodeTrees } from '../domain/image.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'
import { debianKernel } from './kernel/debian-kernel.ts'
import { shelveKernel, type ShelvedKernel } from './kernel/kernel-shelf.ts'
import { planErofs, writeErofs } from './erofs.ts'
import { runtimeTree } from './runtime-tree.ts'
import { Tree } from './tree.ts'
import { addFolder } from './tree-walk.ts'
import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, renameSync, rmSync, statfsSync } from 'node:fs'
import path from 'node:path'

/* What makes images, synchronously: runs in threads of its own, see image-threads.ts. */

export interface MadeImage {
  readonly digest: Digest
  readonly path: string
  readonly bytes: number
}

export interface RuntimeJob {
  readonly build: RuntimeBuild
  readonly shimFolder: string
  readonly guestProgram: string
  /** Folder for the image; drafts lie in its `tmp`. */
  readonly folder: string
}

export type MadeRuntimeImage = MadeImage & { readonly runtime: RuntimeBuild; readonly skipped: readonly string[] }

export interface CodeJob {
  /** null makes the placeholder. */
  readonly code: CodeTrees | null
  readonly folder: string
}

export interface DebianKernelJob {
  readonly folder: string
  readonly guestProgram: string
  readonly key: string
}

type Report = (what: string, share?: number) => void

export const imageJobs = {
  runtime: ({ build, shimFolder, guestProgram, folder }: RuntimeJob, report: Report): MadeRuntimeImage => {
    const draft = path.join(folder, 'tmp', randomUUID())
    mkdirSync(draft, { recursive: true })
    try {
      const { tree, runtime, skipped } = runtimeTree({ build, shimFolder, guestProgram, draft, report })
      report('image', 0.8)
      return { ...publish(tree, { folder, mode: 0o644 }), runtime, skipped }
    } finally {
      rmSync(draft, { recursive: true, force: true })
    }
  },
  debianKernel: ({ folder, guestProgram, key }: DebianKernelJob, report: Report): ShelvedKernel => {
    const draft = path.join(folder, 'tmp', randomUUID())
    mkdirSync(draft, { recursive: true })
    try {
      const kernel = debianKernel(guestProgram, { draft, report })
      return shelveKernel(folder, { kind: 'debian', profile: null, key, ...kernel })
    } finally {
      rmSync(draft, { recursive: true, force: true })
    }
  },
  code: ({ code, folder }: CodeJob): MadeImage => {
    // A VMM of another uid opens it where the launcher placed it; nobody else gets through the folder, which is 0700.
    return publish(codeTree(code), { folder, mode: 0o644, imageBytes: codeImageBytes })
  },
} as const

/** Most functions are smaller: each of their files is opened once. */
const keptBytesMax = 16 * 1024 * 1024

/** `task/`, `cache/` and `opt/`. Unpacked code has neither links nor devices: here they are errors; a container's root may have links. */
function codeTree(code: CodeTrees | null): Tree {
  const tree = new Tree()
  for (const folder of ['task', 'cache', 'opt']) tree.folder(folder)
  if (code === null) return tree
  const keeping = { bytesLeft: keptBytesMax }
  addFolder(tree, { source: code.codeFolder, target: 'task', keeping, isRoot: code.isRoot === true })
  if (code.cacheFolder !== null) addFolder(tree, { source: code.cacheFolder, target: 'cache', keeping })
  for (const layer of code.layerFolders) addFolder(tree, { source: layer, target: 'opt', keeping })
  return tree
}

/** Writes the image of `tree` unless it is there: under its digest, by rename, once it is on disk. */
function publish(tree: Tree, options: { folder: string; mode: number; imageBytes?: number }): MadeImage {
  const { folder, mode, imageBytes } = options
  const digest = tree.digest()
  const hex = digest.slice('sha256:'.length)
  const target = path.join(folder, `${hex}.erofs`)
  const plan = planErofs(tree)
  const { bytes } = plan
  if (existsSync(target)) return { digest, path: target, bytes }
  mkdirSync(path.join(folder, 'tmp'), { recursive: true })
  refuseFullDisk(folder, bytes)
  const draft = path.join(folder, 'tmp', `${randomUUID()}.erofs`)
  try {
    const uuid = Buffer.from(hex.slice(0, 32), 'hex')
    writeErofs(plan, { file: draft, uuid, mode, ...(imageBytes !== undefined && { imageBytes }) })
    // The folder is not synced: an image whose name is lost is made again, one that has a name is whole.
    renameSync(draft, target)
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  }
  return { digest, path: target, bytes }
}

/** What must stay free for everything else. */
const spareBytes = 64 * 1024 * 1024

function refuseFullDisk(folder: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(folder)
  if (bavail * bsize >= bytes + spareBytes) return
  const mib = (value: number): number => Math.ceil(value / 2 ** 20)
  throw new AppError(
    'capacity',
    `Cannot make an image of ${mib(bytes)} MiB: only ${mib(bavail * bsize)} MiB are free for "${folder}". Free space, then retry.`,
  )
}
