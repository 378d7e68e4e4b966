import { createReadStream, createWriteStream, readSync } from 'node:fs'
import { open, truncate } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { z } from 'zod'
import { ignoreMissing } from '../../src/domain/is-missing.ts'

/* A state file of the simulator's: what Firecracker has in its own (devices and their settings), padded to `headerBytes`, then QEMU's device state. */

const hardware = z.strictObject({
  format: z.literal('fc-sim 1'),
  memoryMib: z.int().min(1),
  needsAcpi: z.boolean(),
  drives: z.array(z.strictObject({ id: z.string(), path: z.string() })).length(2),
  network: z.strictObject({ id: z.string(), tap: z.string(), mac: z.string() }).nullable(),
  vsockPath: z.string().nullable(),
  hasBalloonStatistics: z.boolean(),
})

/** A machine's devices; the first drive is the root. */
export type Hardware = z.infer<typeof hardware>

const headerBytes = 4_096
const chunkBytes = 4 * 1024 * 1024

/** Writes over `target`, which stays the same file: a jail has it by another name. */
export async function writeState(target: string, of: Hardware, deviceState: string): Promise<void> {
  const header = Buffer.alloc(headerBytes, ' ')
  header.write(JSON.stringify(of))
  await truncate(target).catch(ignoreMissing)
  const file = createWriteStream(target, { flags: 'w' })
  file.write(header)
  await pipeline(createReadStream(deviceState), file)
}

/** Reads the header from `fd`, whose position is then that of the device state. Throws on a file that is none of ours. */
export function readHardware(fd: number): Hardware {
  const header = Buffer.alloc(headerBytes)
  readSync(fd, header, 0, headerBytes, null)
  return hardware.parse(JSON.parse(header.toString()))
}

/** Copies `bytes` of memory; pages of zeros become holes. */
export async function copyMemory(from: string, to: string, bytes: number, flags: 'w' | 'r+'): Promise<void> {
  const [source, target] = [await open(from, 'r'), await open(to, flags)]
  try {
    if (flags === 'w') await target.truncate(bytes)
    const buffer = Buffer.alloc(chunkBytes)
    const zeros = Buffer.alloc(chunkBytes)
    for (let at = 0; at < bytes;) {
      const { bytesRead } = await source.read(buffer, 0, Math.min(chunkBytes, bytes - at), at)
      if (bytesRead === 0) throw new Error(`the memory file ends after ${at} of ${bytes} bytes`)
      const read = buffer.subarray(0, bytesRead)
      if (!read.equals(zeros.subarray(0, bytesRead))) await target.write(read, 0, bytesRead, at)
      at += bytesRead
    }
  } finally {
    await source.close()
    await target.close()
  }
}
