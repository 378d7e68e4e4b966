/** A file of an initramfs; folders are made from the names. */
export interface CpioFile {
  readonly path: string
  readonly isExecutable: boolean
  readonly content: Uint8Array
}

const modes = { folder: 0o040755, program: 0o100755, file: 0o100644 } as const

/** An uncompressed initramfs ("newc"): unpacking a compressed one takes the emulated boot longer than reading it. The same files give the same bytes.
 *  Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst */
export function makeCpio(files: readonly CpioFile[]): Buffer {
  const folders = new Set(files.flatMap(({ path }) => foldersAbove(path)))
  const parts: Buffer[] = []
  let number = 0
  const add = (path: string, mode: number, content: Uint8Array): void => {
    const fields = [++number, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, Buffer.byteLength(path) + 1, 0]
    const head = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${path}\0`
    parts.push(padded(Buffer.from(head)), padded(Buffer.from(content)))
  }
  for (const folder of [...folders].sort()) add(folder, modes.folder, Buffer.alloc(0))
  for (const { path, isExecutable, content } of files) add(path, isExecutable ? modes.program : modes.file, content)
  number = -1
  add('TRAILER!!!', 0, Buffer.alloc(0))
  return Buffer.concat(parts)
}

function foldersAbove(path: string): string[] {
  const names = path.split('/').slice(0, -1)
  return names.map((_, at) => names.slice(0, at + 1).join('/'))
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])
}
