import type { Budget } from './budget.ts'
import type { Layer } from './image-parts.ts'
import { explainTar, writeFile } from './members.ts'
import { buildAgain, refuseImage } from './refusal.ts'
import type { RootTree } from './root-tree.ts'
import { openTar } from './open-tar.ts'
import { createHash } from 'node:crypto'
import { posix } from 'node:path'
import type { Readable } from 'node:stream'
import type { Headers } from 'tar-stream'

const hidden = '.wh.'
const opaque = '.wh..wh..opq'

/** Lays one layer over `root`. Owners, times, set-uid bits and devices are not kept; what its owner may read, all may.
 *  Throws invalid, naming layer and entry: damaged, not what `diffId` says, too much, or leading out of the image. */
export async function applyLayer(root: RootTree, layer: Layer, of: { diffId: string; budget: Budget }): Promise<void> {
  const { diffId, budget } = of
  const hash = createHash('sha256')
  const where = `layer ${layer.name}`
  const bytesMax = budget.tarBytesMax
  const { tar, reading } = openTar(layer.file, { where, bytesMax, see: (bytes) => void hash.update(bytes) })
  root.beginLayer(where)
  try {
    for await (const entry of tar) {
      budget.charge(where, entry.header.name, entry.header.size ?? 0)
      await place(root, entry, entry.header)
    }
    await reading
  } catch (error) {
    throw explainTar(where, error)
  }
  // tar-stream stops at the end of the archive; the digest is over what follows it too.
  const actual = `sha256:${hash.digest('hex')}`
  if (actual !== diffId)
    throw refuseImage(where, `it unpacks to ${actual}, the configuration says ${diffId}`, buildAgain)
}

async function place(root: RootTree, content: Readable, header: Headers): Promise<void> {
  const { name, type, mode = 0, size = 0, linkname } = header
  const base = posix.basename(name)
  if (base === opaque) root.hideAllIn(posix.dirname(name))
  else if (base.startsWith(hidden)) {
    // Names that begin so otherwise are another tool's notes.
    if (!base.startsWith('.wh..wh.')) root.hide(posix.join(posix.dirname(name), base.slice(hidden.length)))
  } else if (type === 'directory') root.folder(name)
  else if (type === 'symlink') root.link(name, linkname ?? '')
  else if (type === 'link') root.hardLink(name, linkname ?? '')
  else if (type === 'file' || type === 'contiguous-file')
    return writeFile(root.file(name, size), content, (mode & 0o111) === 0 ? 0o644 : 0o755)
  // Devices and pipes: a sandbox has its own.
  content.resume()
}
