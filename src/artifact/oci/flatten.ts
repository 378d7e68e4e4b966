import type { ContainerFacts } from '../../domain/container-image.ts'
import type { Arch } from '../../domain/function.ts'
import { limits } from '../../domain/limits.ts'
import { applyLayer } from './apply-layer.ts'
import { Budget, type ImageBounds } from './budget.ts'
import { parseImageConfig } from './image-config.ts'
import { imageParts } from './image-parts.ts'
import { Members } from './members.ts'
import { buildAgain, refuseImage } from './refusal.ts'
import { RootTree } from './root-tree.ts'
import { accountBytesMax, userName } from './user-name.ts'
import { execFile } from 'node:child_process'
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { posix } from 'node:path'
import { promisify } from 'node:util'

export interface Flattened {
  readonly bytes: number
  readonly entries: number
  readonly facts: ContainerFacts
}

/** Each is mounted for itself. Twin: ENTRIES_MAX in guest/src/instance/root.rs. */
const topEntriesMax = 256

/** The sandbox's own, empty here: what the image has there is seen by nobody. Twins: OWN in guest/src/instance/root.rs, `replace_root` in
 *  guest/src/init/mounts.rs. */
const ownFolders = ['dev', 'proc', 'sys', 'run', 'tmp']
/** What a sandbox adds to, or needs for a moment: real folders and files, whatever the image has there. */
const mountPoints = ['mnt', 'etc']
const etcFiles: Readonly<Record<string, string>> = {
  'etc/resolv.conf': '',
  'etc/hosts': '127.0.0.1 localhost hearth\n::1 localhost\n',
  'etc/hostname': 'hearth\n',
}
/** A line for whoever runs is put before what they say when an Instance begins. */
const accountFiles: Readonly<Record<string, string>> = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\n',
  'etc/group': 'root:x:0:\n',
}

/** Lays the layers of the image in `archive` over one another in the new folder `target`; all of it is on disk when it resolves. `draft` is a name
 *  for a folder beside it, which is gone afterwards. Runs in a worker thread. The caller removes `target` when it throws: invalid, naming what is
 *  wrong with the image. */
export async function flattenImage(of: {
  archive: string
  target: string
  draft: string
  arch: Arch
  bounds?: ImageBounds
}): Promise<Flattened> {
  const { archive, target, draft, arch, bounds = limits.image } = of
  mkdirSync(draft, { mode: 0o700 })
  try {
    const { manifest, config, layers } = await imageParts(await Members.of(archive, draft, bounds), arch)
    const { facts, user, diffIds } = parseImageConfig(config, arch)
    if (diffIds.length !== layers.length) {
      const problem = `it names ${diffIds.length} layers, the manifest ${layers.length}`
      throw refuseImage('the configuration', problem, buildAgain)
    }
    mkdirSync(target)
    chmodSync(target, 0o755)
    const budget = new Budget(bounds)
    const root = new RootTree(target, budget)
    for (const [at, layer] of layers.entries()) await applyLayer(root, layer, { diffId: diffIds[at] ?? '', budget })
    furnish(root, facts.workdir)
    await promisify(execFile)('sync', ['-f', target])
    const passwd = root.content('etc/passwd', accountBytesMax) ?? ''
    return { ...root.count(), facts: { manifest, ...facts, user: userName(user, passwd) } }
  } finally {
    rmSync(draft, { recursive: true, force: true })
  }
}

function furnish(root: RootTree, workdir: string): void {
  root.beginLayer('what every sandbox has')
  for (const folder of ownFolders) root.emptyFolder(folder)
  for (const folder of mountPoints) root.ownFolder(folder)
  root.beginLayer('the configuration: WorkingDir')
  root.ensureFolder(posix.normalize(workdir))
  root.beginLayer('what every sandbox has')
  if (root.topEntries > topEntriesMax)
    throw refuseImage('/', `it has more than ${topEntriesMax} files and folders at its top`, 'Put them into a folder.')
  const missing = Object.entries(accountFiles).filter(([name]) => root.at(name) === undefined)
  for (const [name, content] of [...Object.entries(etcFiles), ...missing])
    writeReadable(root.file(name, Buffer.byteLength(content)), content)
}

function writeReadable(file: string, content: string): void {
  writeFileSync(file, content, { flag: 'wx' })
  chmodSync(file, 0o644)
}
