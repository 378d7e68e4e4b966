/* What Hearth needs to know of ELF files, read without running them: libraries a program asks for, notes of a kernel, sections of a module.
 * 64 bits, little endian. Every offset in the file is a claim: what lies outside makes the file no ELF. Source: the System V ABI, "gABI". */

export interface ElfFacts {
  /** `62` x86-64, `183` arm64. */
  readonly machine: number
  /** The program that loads it, e.g. /lib64/ld-linux-x86-64.so.2. */
  readonly interpreter: string | null
  readonly needed: readonly string[]
  readonly soname: string | null
  readonly rpath: readonly string[]
  readonly runpath: readonly string[]
  readonly notes: readonly { readonly name: string; readonly type: number }[]
}

export const elfMachines = { x64: 62, arm64: 183 } as const

/** The facts of the ELF file `bytes`, or null when it is none (or damaged). */
export function readElf(bytes: Buffer): ElfFacts | null {
  if (!isElf64(bytes)) return null
  try {
    const segments = segmentsOf(bytes)
    const interpreter = segments.find(({ type }) => type === segmentTypes.interpreter)
    return {
      machine: bytes.readUInt16LE(18),
      interpreter: interpreter === undefined ? null : textAt(contentOf(bytes, interpreter), 0),
      ...dynamicOf(bytes, segments),
      notes: segments
        .filter(({ type }) => type === segmentTypes.note)
        .flatMap((each) => notesIn(contentOf(bytes, each))),
    }
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
}

/** How long the file must be to hold what its headers tell of: segments and the table of sections. Null when it is no ELF file, or its headers are not whole. */
export function elfBytes(bytes: Buffer): number | null {
  if (!isElf64(bytes)) return null
  const sections = Number(bytes.readBigUInt64LE(40)) + bytes.readUInt16LE(58) * bytes.readUInt16LE(60)
  try {
    return Math.max(sections, ...segmentsOf(bytes).map(({ at, bytes: size }) => at + size))
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
}

/** The content of the section `name`, or null. */
export function readElfSection(bytes: Buffer, name: string): Buffer | null {
  if (!isElf64(bytes)) return null
  try {
    const [tableAt, entryBytes, count, namesIndex] = [
      Number(bytes.readBigUInt64LE(40)),
      bytes.readUInt16LE(58),
      bytes.readUInt16LE(60),
      bytes.readUInt16LE(62),
    ]
    const section = (index: number): { nameAt: number; content: Buffer } => {
      const at = tableAt + index * entryBytes
      const [from, size] = [Number(bytes.readBigUInt64LE(at + 24)), Number(bytes.readBigUInt64LE(at + 32))]
      return { nameAt: bytes.readUInt32LE(at), content: slice(bytes, from, size) }
    }
    const names = section(namesIndex).content
    for (let index = 1; index < count; index++) {
      // Sections without bytes in the file (.bss) lie anywhere.
      if (bytes.readUInt32LE(tableAt + index * entryBytes + 4) === 8) continue
      const { nameAt, content } = section(index)
      if (textAt(names, nameAt) === name) return content
    }
    return null
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
}

const segmentTypes = { load: 1, dynamic: 2, interpreter: 3, note: 4 } as const
const tags = { needed: 1, strings: 5, soname: 14, rpath: 15, runpath: 29 } as const

interface Segment {
  readonly type: number
  readonly at: number
  readonly address: number
  readonly bytes: number
}

/** Whether `bytes`, at least 64 of them, begin an ELF file of the kind that is read here. */
export function isElf64(bytes: Buffer): boolean {
  return bytes.length >= 64 && bytes.readUInt32BE(0) === 0x7f454c46 && bytes[4] === 2 && bytes[5] === 1
}

function segmentsOf(bytes: Buffer): Segment[] {
  const [tableAt, entryBytes, count] = [
    Number(bytes.readBigUInt64LE(32)),
    bytes.readUInt16LE(54),
    bytes.readUInt16LE(56),
  ]
  return Array.from({ length: count }, (_, index) => {
    const at = tableAt + index * entryBytes
    return {
      type: bytes.readUInt32LE(at),
      at: Number(bytes.readBigUInt64LE(at + 8)),
      address: Number(bytes.readBigUInt64LE(at + 16)),
      bytes: Number(bytes.readBigUInt64LE(at + 32)),
    }
  })
}

function dynamicOf(
  bytes: Buffer,
  segments: readonly Segment[],
): Pick<ElfFacts, 'needed' | 'soname' | 'rpath' | 'runpath'> {
  const dynamic = segments.find(({ type }) => type === segmentTypes.dynamic)
  if (dynamic === undefined) return { needed: [], soname: null, rpath: [], runpath: [] }
  const table = contentOf(bytes, dynamic)
  const entries: { tag: number; value: number }[] = []
  for (let at = 0; at + 16 <= table.length; at += 16) {
    const tag = Number(table.readBigInt64LE(at))
    if (tag === 0) break
    entries.push({ tag, value: Number(table.readBigUInt64LE(at + 8)) })
  }
  const address = entries.find(({ tag }) => tag === tags.strings)?.value ?? 0
  const load = segments.find((each) => {
    return each.type === segmentTypes.load && address >= each.address && address < each.address + each.bytes
  })
  if (load === undefined) return { needed: [], soname: null, rpath: [], runpath: [] }
  const from = load.at + address - load.address
  const strings = slice(bytes, from, load.at + load.bytes - from)
  const texts = (wanted: number): string[] => {
    return entries.filter(({ tag }) => tag === wanted).map(({ value }) => textAt(strings, value))
  }
  const folders = (wanted: number): string[] =>
    texts(wanted)
      .flatMap((text) => text.split(':'))
      .filter(Boolean)
  return {
    needed: texts(tags.needed),
    soname: texts(tags.soname)[0] ?? null,
    rpath: folders(tags.rpath),
    runpath: folders(tags.runpath),
  }
}

function notesIn(content: Buffer): { name: string; type: number }[] {
  const notes: { name: string; type: number }[] = []
  for (let at = 0; at + 12 <= content.length;) {
    const [nameBytes, descriptionBytes] = [content.readUInt32LE(at), content.readUInt32LE(at + 4)]
    notes.push({ name: textAt(slice(content, at + 12, nameBytes), 0), type: content.readUInt32LE(at + 8) })
    at += 12 + roundUp4(nameBytes) + roundUp4(descriptionBytes)
  }
  return notes
}

function contentOf(bytes: Buffer, { at, bytes: size }: Segment): Buffer {
  return slice(bytes, at, size)
}

function slice(bytes: Buffer, from: number, size: number): Buffer {
  if (from < 0 || size < 0 || from + size > bytes.length) throw new RangeError('outside of the file')
  return bytes.subarray(from, from + size)
}

function textAt(bytes: Buffer, at: number): string {
  if (at < 0 || at > bytes.length) throw new RangeError('outside of the strings')
  const end = bytes.indexOf(0, at)
  return bytes.toString('utf8', at, end === -1 ? bytes.length : end)
}

function roundUp4(value: number): number {
  return Math.ceil(value / 4) * 4
}
