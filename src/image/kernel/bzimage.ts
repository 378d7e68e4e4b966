import { AppError } from '../../domain/error.ts'
import { isMissing } from '../../domain/is-missing.ts'
import { unpackLegacyLz4 } from './lz4.ts'
import { execFileSync } from 'node:child_process'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'

const vmlinuxBytesMax = 256 * 1024 * 1024

/** How a kernel's payload begins, and what unpacks it. */
const packings: readonly { readonly magic: string; readonly unpack: (payload: Buffer) => Buffer }[] = [
  { magic: '02214c18', unpack: unpackLegacyLz4 },
  { magic: '28b52ffd', unpack: (payload) => zstdDecompressSync(payload, { maxOutputLength: vmlinuxBytesMax }) },
  { magic: '1f8b', unpack: (payload) => gunzipSync(payload, { maxOutputLength: vmlinuxBytesMax }) },
  { magic: 'fd377a585a00', unpack: (payload) => unxz(payload.subarray(0, -4)) },
  { magic: '7f454c46', unpack: (payload) => payload },
]

/** The vmlinux in a bzImage (`/boot/vmlinuz-*`). Throws driver_failed, quoting `file`, when it has none that can be unpacked.
 *  Source: Linux Documentation/arch/x86/boot.rst */
export function vmlinuxOf(image: Buffer, file: string): Buffer {
  const refuse = (why: string, cause?: unknown): AppError =>
    new AppError('driver_failed', `Cannot unpack the kernel "${file}": ${why}.`, { cause })
  if (image.length < 0x250 || image.toString('latin1', 0x202, 0x206) !== 'HdrS') throw refuse('it is no bzImage')
  const setupSectors = image[0x1f1] === 0 ? 4 : (image[0x1f1] ?? 4)
  const from = (setupSectors + 1) * 512 + image.readUInt32LE(0x248)
  const payload = image.subarray(from, from + image.readUInt32LE(0x24c))
  const packing = packings.find(({ magic }) => payload.toString('hex', 0, magic.length / 2) === magic)
  if (packing === undefined) throw refuse(`its packing is not known (it begins with ${payload.toString('hex', 0, 4)})`)
  try {
    return packing.unpack(payload)
  } catch (cause) {
    throw refuse('its payload is damaged', cause)
  }
}

/** By the machine's own xz: Node has none. Throws driver_failed when there is no such program. */
export function unxz(packed: Buffer): Buffer {
  try {
    return execFileSync('xz', ['-dc'], { input: packed, maxBuffer: vmlinuxBytesMax, stdio: ['pipe', 'pipe', 'ignore'] })
  } catch (cause) {
    const why = isMissing(cause) ? 'the program xz is not installed (package xz-utils)' : 'xz refused it'
    throw new AppError('driver_failed', `Cannot unpack a part of the kernel: ${why}.`, { cause })
  }
}
