import { crc32, deflateRawSync } from 'node:zlib'

/** One entry of a zip, each claim of which can be made to lie. */
export interface RawEntry {
  readonly name: string | Buffer
  readonly content?: Buffer | string
  /** In front of the data, when it shall differ from the directory's. */
  readonly localName?: string
  /** Unix mode with type bits; none by default, as on Windows. */
  readonly mode?: number
  readonly method?: number
  readonly flags?: number
  /** What the directory claims the content to be. */
  readonly claimedBytes?: number
  readonly claimedCrc32?: number
  /** Instead of the deflated content. */
  readonly packed?: Buffer
  /** Index of an earlier, stored entry whose content starts with this one's header and data: nothing of its own is written. */
  readonly insideOf?: number
}

const deflated = 8
const utf8Flag = 0x800

/** A zip made byte by byte, for archives that no honest tool would write. `claimedEntries` is what its end record says. */
export function rawZip(entries: readonly RawEntry[], options: { claimedEntries?: number } = {}): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  const contentStarts: number[] = []
  let offset = 0
  for (const entry of entries) {
    const fields = fieldsOf(entry)
    const outer = entry.insideOf === undefined ? undefined : contentStarts[entry.insideOf]
    directory.push(directoryHeader(entry, fields, outer ?? offset))
    if (outer !== undefined) continue
    const local = localHeader(entry, fields)
    contentStarts.push(offset + local.length)
    parts.push(local, fields.packed)
    offset += local.length + fields.packed.length
  }
  const directoryBytes = Buffer.concat(directory)
  const end = endRecord(options.claimedEntries ?? entries.length, directoryBytes.length, offset)
  return Buffer.concat([...parts, directoryBytes, end])
}

interface Fields {
  readonly name: Buffer
  readonly packed: Buffer
  readonly bytes: number
  readonly sum: number
  readonly method: number
  readonly flags: number
}

function fieldsOf(entry: RawEntry): Fields {
  const content = Buffer.from(entry.content ?? '')
  const method = entry.method ?? deflated
  return {
    name: Buffer.from(entry.name),
    packed: entry.packed ?? (method === deflated ? deflateRawSync(content) : content),
    bytes: entry.claimedBytes ?? content.length,
    sum: entry.claimedCrc32 ?? crc32(content),
    method,
    flags: entry.flags ?? utf8Flag,
  }
}

function localHeader(entry: RawEntry, fields: Fields): Buffer {
  const name = entry.localName === undefined ? fields.name : Buffer.from(entry.localName)
  const header = Buffer.alloc(30)
  header.writeUInt32LE(0x04034b50, 0)
  header.writeUInt16LE(20, 4)
  header.writeUInt16LE(fields.flags, 6)
  header.writeUInt16LE(fields.method, 8)
  header.writeUInt32LE(fields.sum, 14)
  header.writeUInt32LE(fields.packed.length, 18)
  header.writeUInt32LE(fields.bytes, 22)
  header.writeUInt16LE(name.length, 26)
  return Buffer.concat([header, name])
}

function directoryHeader(entry: RawEntry, fields: Fields, offset: number): Buffer {
  const header = Buffer.alloc(46)
  header.writeUInt32LE(0x02014b50, 0)
  header.writeUInt16LE(entry.mode === undefined ? 20 : (3 << 8) | 20, 4)
  header.writeUInt16LE(20, 6)
  header.writeUInt16LE(fields.flags, 8)
  header.writeUInt16LE(fields.method, 10)
  header.writeUInt32LE(fields.sum, 16)
  header.writeUInt32LE(fields.packed.length, 20)
  header.writeUInt32LE(fields.bytes, 24)
  header.writeUInt16LE(fields.name.length, 28)
  header.writeUInt32LE(((entry.mode ?? 0) << 16) >>> 0, 38)
  header.writeUInt32LE(offset, 42)
  return Buffer.concat([header, fields.name])
}

function endRecord(entries: number, directoryBytes: number, offset: number): Buffer {
  const record = Buffer.alloc(22)
  record.writeUInt32LE(0x06054b50, 0)
  record.writeUInt16LE(Math.min(entries, 0xffff), 8)
  record.writeUInt16LE(Math.min(entries, 0xffff), 10)
  record.writeUInt32LE(directoryBytes, 12)
  record.writeUInt32LE(offset, 16)
  return entries < 0xffff ? record : Buffer.concat([zip64Records(entries, directoryBytes, offset), record])
}

/** The 64-bit end record and its locator: what a zip of 65,535 entries or more needs. */
function zip64Records(entries: number, directoryBytes: number, offset: number): Buffer {
  const records = Buffer.alloc(56 + 20)
  records.writeUInt32LE(0x06064b50, 0)
  records.writeBigUInt64LE(44n, 4)
  records.writeBigUInt64LE(BigInt(entries), 24)
  records.writeBigUInt64LE(BigInt(entries), 32)
  records.writeBigUInt64LE(BigInt(directoryBytes), 40)
  records.writeBigUInt64LE(BigInt(offset), 48)
  records.writeUInt32LE(0x07064b50, 56)
  records.writeBigUInt64LE(BigInt(offset + directoryBytes), 64)
  records.writeUInt32LE(1, 72)
  return records
}
