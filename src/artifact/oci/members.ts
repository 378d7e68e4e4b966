import { AppError } from '../../domain/error.ts'
import type { ImageBounds } from './budget.ts'
import { buildAgain, refuseImage } from './refusal.ts'
import { openTar } from './open-tar.ts'
import { closeSync, fchmodSync, openSync, writeSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join, posix } from 'node:path'
import type { Entry } from 'tar-stream'

export interface Member {
  readonly file: string
  readonly bytes: number
}

/** An archive of an image holds three files beside each layer. */
const membersMax = 4_096
const documentBytesMax = 4 * 1024 * 1024

/** The files of an image's archive, laid out in a folder under numbers: their names stay in memory, where they can do no harm. */
export class Members {
  readonly #files = new Map<string, Member>()
  /** docker-archives of old name a layer once and link to it elsewhere. */
  readonly #links = new Map<string, string>()

  /** Throws invalid when `archive` is no tar, or more than an image may be. */
  static async of(archive: string, folder: string, bounds: ImageBounds): Promise<Members> {
    const members = new Members()
    await members.#read(archive, folder, bounds.unpackedBytesMax)
    return members
  }

  has(name: string): boolean {
    return this.#find(name) !== undefined
  }

  /** Throws invalid when it is not there. */
  get(name: string): Member {
    const found = this.#find(name)
    if (found === undefined) throw refuseImage(name, 'it is named, but not in the archive', buildAgain)
    return found
  }

  /** A document, whole. */
  async text(name: string): Promise<string> {
    const { file, bytes } = this.get(name)
    if (bytes > documentBytesMax)
      throw refuseImage(name, `it has ${bytes} bytes, a document may have ${documentBytesMax}`, buildAgain)
    return readFile(file, 'utf8')
  }

  #find(name: string): Member | undefined {
    let at = posix.normalize(name)
    for (let hops = 0; hops < 8; hops++) {
      const found = this.#files.get(at)
      const next = this.#links.get(at)
      if (found !== undefined || next === undefined) return found
      at = next
    }
    return undefined
  }

  async #read(archive: string, folder: string, bytesMax: number): Promise<void> {
    const where = 'the archive'
    const { tar, reading } = openTar(archive, { where, bytesMax })
    try {
      for await (const entry of tar) await this.#take(entry, folder)
      await reading
    } catch (error) {
      throw explainTar(where, error)
    }
    if (this.#files.size === 0) throw refuseImage('the archive', 'it is no tar, or an empty one', saveIt)
  }

  async #take(entry: Entry, folder: string): Promise<void> {
    const { name, type, size = 0 } = entry.header
    const target = entry.header.linkname ?? ''
    const path = posix.normalize(name)
    if (this.#files.size + this.#links.size >= membersMax)
      throw refuseImage('the archive', `it has more than ${membersMax} members`, buildAgain)
    if (type === 'file') {
      const file = join(folder, String(this.#files.size))
      await writeFile(file, entry, 0o600)
      this.#files.set(path, { file, bytes: size })
      return
    }
    if (type === 'symlink') this.#links.set(path, posix.join(posix.dirname(path), target))
    if (type === 'link') this.#links.set(path, posix.normalize(target))
    entry.resume()
  }
}

/** Of this machine, not of what was sent to it. */
const ourCodes = new Set(['ENOSPC', 'EDQUOT', 'EIO', 'EROFS', 'EACCES', 'EMFILE', 'ENFILE', 'ENOMEM'])

const saveIt = 'Give an OCI layout or a docker-archive as a tar, e.g. of "docker save" or "skopeo copy".'

/** What went wrong with a tar, which is the fault of its bytes unless the disk or Hearth itself said so. */
export function explainTar(where: string, error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  const isOurs = error instanceof AppError || ourCodes.has(code)
  return isOurs ? error : refuseImage(where, `its bytes are damaged (${error.message})`, saveIt)
}

/** A new file, whatever the umask. */
export async function writeFile(file: string, content: AsyncIterable<Uint8Array>, mode: number): Promise<void> {
  const fd = openSync(file, 'wx', 0o600)
  try {
    for await (const piece of content)
      for (let written = 0; written < piece.length;) written += writeSync(fd, piece, written)
    fchmodSync(fd, mode)
  } finally {
    closeSync(fd)
  }
}
