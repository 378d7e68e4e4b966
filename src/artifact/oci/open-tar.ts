import { refuseImage } from './refusal.ts'
import { openUnpacked } from './unpacked.ts'
import { pipeline } from 'node:stream/promises'
import { extract, type Extract } from 'tar-stream'

/** What the parser may hold of a tar: a piece of a file, or all of an entry's long names and attributes. An honest one's are a few KiB. */
const heldBytesMax = 4 * 1024 * 1024

export interface OpenTar {
  readonly tar: Extract
  /** Resolves when the whole file has been read, also what follows the archive's end. Rejects as `tar` fails: whoever reads that meets it first. */
  readonly reading: Promise<void>
}

/** The entries of a tar, packed or not. Fails with invalid after `bytesMax` bytes, and where names or attributes take more memory than they are worth. */
export function openTar(
  file: string,
  { where, bytesMax, see = () => {} }: { where: string; bytesMax: number; see?: (bytes: Uint8Array) => void },
): OpenTar {
  const tar = extract()
  const source = openUnpacked(file, {
    where,
    bytesMax,
    see: (bytes) => {
      see(bytes)
      if (heldBy(tar) > heldBytesMax)
        throw refuseImage(where, 'names or attributes of an entry take more than 4 MiB', 'Build the image again.')
    },
  })
  const reading = pipeline(source, tar)
  reading.catch(() => {})
  return { tar, reading }
}

/** tar-stream (pinned in package.json) keeps whatever belongs to one header in memory, however much it says that is; a test sees to it that this is where. */
function heldBy(tar: Extract): number {
  const list: unknown = Reflect.get(tar, '_buffer')
  const bytes: unknown = typeof list === 'object' && list !== null ? Reflect.get(list, 'buffered') : undefined
  if (typeof bytes !== 'number') throw new TypeError('tar-stream is not the version that this was written for.')
  return bytes
}
