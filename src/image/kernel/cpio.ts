/** What is in an initramfs; folders above are made from the names. */
export type CpioEntry =
  | { readonly type: 'folder'; readonly path: string }
  | { readonly type: 'file'; readonly path: string; readonly isExecutable: boolean; readonly content: Uint8Array }
  /** A character device, for all to read and write. */
  | { readonly type: 'device'; readonly path: string; readonly major: number; readonly minor: number }

const modes = { folder: 0o040755, program: 0o100755, file: 0o100644, device: 0o020666 } as const

/** An uncompressed initramfs ("newc"): unpacking a compressed one takes the emulated boot longer than reading it. The same entries give the same bytes.
 *  Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst */
export function makeCpio(entries: readonly CpioEntry[]): Buffer {
  const named = entries.flatMap((entry) => (entry.type === 'folder' ? [entry.path] : []))
  const folders = new Set([...named, ...entries.flatMap(({ path }) => foldersAbove(path))])
  const others = entries.filter((entry) => entry.type !== 'folder')
  const parts = [...folders].sort().map((path, at) => member({ path, number: at + 1, mode: modes.folder }))
  others.forEach((entry, at) => {
    const about = { path: entry.path, number: folders.size + at + 1 }
    if (entry.type === 'device') parts.push(member({ ...about, mode: modes.device, device: entry }))
    else {
      const mode = entry.isExecutable ? modes.program : modes.file
      parts.push(member({ ...about, mode, content: entry.content }))
    }
  })
  return Buffer.concat([...parts, member({ path: 'TRAILER!!!', number: 0, mode: 0 })])
}

interface Member {
  readonly path: string
  readonly number: number
  readonly mode: number
  readonly content?: Uint8Array
  readonly device?: { readonly major: number; readonly minor: number }
}

function member({ path, number, mode, content = Buffer.alloc(0), device = { major: 0, minor: 0 } }: Member): Buffer {
  const nameBytes = Buffer.byteLength(path) + 1
  const fields = [number, mode, 0, 0, 1, 0, content.length, 0, 0, device.major, device.minor, nameBytes, 0]
  const head = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${path}\0`
  return Buffer.concat([padded(Buffer.from(head)), padded(Buffer.from(content))])
}

function foldersAbove(path: string): string[] {
  const names = path.split('/').slice(0, -1)
  return names.map((_, at) => names.slice(0, at + 1).join('/'))
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])
}
