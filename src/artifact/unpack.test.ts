import { rawZip } from '../../test/support/raw-zip.ts'
import type { RawEntry } from '../../test/support/raw-zip.ts'
import { rejects } from '../../test/support/rejects.ts'
import { silentLogger } from '../domain/logger.ts'
import { openArtifactStore } from './store.ts'
import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, readlink, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { deflateRawSync } from 'node:zlib'
import yazl from 'yazl'

const link = 0o120777
const device = 0o020644
const fifo = 0o010644
const file = 0o100644

const megabyte = Buffer.alloc(1024 * 1024)

/** Each archive that must be refused, and what the refusal says. */
const hostile: readonly [title: string, archive: () => Buffer | Promise<Buffer>, message: RegExp][] = [
  ['an empty upload', () => Buffer.alloc(0), /it is empty \(0 bytes\)\. Upload a zip/],
  ['something that is no zip', () => Buffer.from('#!/bin/sh\necho hello, I am a script\n'), /not a zip archive/],
  ['a zip without files', () => rawZip([]), /it holds no files/],
  ['a zip of folders alone', () => rawZip([{ name: 'a/' }]), /it holds no files/],
  ['a truncated zip', () => plain().subarray(0, 60), /truncated or damaged/],
  ['a zip with its middle cut out', cutOut, /damaged|missing|another name/],
  ['a path out of the archive', () => one({ name: '../evil' }), /"\.\.\/evil": its path leaves the archive/],
  ['a path out and in again', () => one({ name: 'a/../../evil' }), /its path leaves the archive/],
  ['a ".." that stays inside', () => one({ name: 'a/../b' }), /its path leaves the archive/],
  ['an absolute path', () => one({ name: '/etc/passwd' }), /"\/etc\/passwd": its path is absolute/],
  ['a drive letter', () => one({ name: 'C:evil' }), /drive letter/],
  ['a backslash', () => one({ name: '..\\evil' }), /backslash/],
  ['a NUL byte', () => one({ name: 'a\0b' }), /NUL byte/],
  ['an empty name', () => one({ name: '' }), /it has no name/],
  ['an empty path part', () => one({ name: 'a//b' }), /empty or "\." part/],
  ['a "." path part', () => one({ name: 'a/./b' }), /empty or "\." part/],
  ['a name that is not UTF-8', () => one({ name: Buffer.from([0x66, 0xff, 0xfe]) }), /its name is not UTF-8/],
  ['a long path', () => one({ name: `${'a/'.repeat(20)}${'b'.repeat(990)}` }), /1030 bytes long, the limit is 1024/],
  ['a long name', () => one({ name: 'b'.repeat(256) }), /256 bytes long, the limit is 255/],
  ['a deep path', () => one({ name: `${'a/'.repeat(64)}b` }), /65 folders deep, the limit is 64/],
  ['a link to an absolute path', () => linked('l', '/etc/passwd'), /"l": it is a symbolic link to the absolute path/],
  ['a link out of the archive', () => linked('a/l', '../../x'), /"a\/l": it is a symbolic link that leaves/],
  ['a link that leaves through another', () => linked('a/l', 'm/../../x'), /link with "\.\." behind a name/],
  ['a link to nothing', () => linked('l', ''), /"l": it is a symbolic link to nowhere/],
  ['a link without end', () => linked('l', 'x'.repeat(1025)), /"l": it is a symbolic link over 1024 bytes/],
  ['a link that is no text', () => linked('l', Buffer.from([0xff])), /target is not UTF-8/],
  ['a file below a link', () => rawZip([linkTo('a', 'b'), { name: 'a/x' }]), /"a": it appears twice, or is both/],
  ['a device', () => one({ name: 'd', mode: device }), /"d": it is a device or socket/],
  ['a fifo', () => one({ name: 'd', mode: fifo }), /"d": it is a device or socket/],
  ['a file that calls itself a folder', () => one({ name: 'd/', mode: file }), /both a file and a folder/],
  ['a folder with content', () => one({ name: 'd/', content: 'x' }), /folder with content/],
  ['an encrypted entry', () => one({ name: 'a', flags: 1 }), /"a": it is encrypted/],
  ['strong encryption', () => one({ name: 'a', flags: 0x41 }), /encrypt/],
  ['an unknown compression', () => one({ name: 'a', method: 14 }), /compression method 14/],
  ['a duplicate', () => rawZip([{ name: 'a' }, { name: 'a' }]), /"a": it appears twice/],
  ['a duplicate through "./"', () => rawZip([{ name: 'a' }, { name: './a' }]), /"a": it appears twice/],
  ['a duplicate folder', () => rawZip([{ name: 'a/' }, { name: 'a/' }, { name: 'b' }]), /"a\/": it appears twice/],
  ['a case clash', () => rawZip([{ name: 'a/B' }, { name: 'a/b' }]), /"a\/b": it differs from "a\/B" only in case/],
  ['a case clash of folders', () => rawZip([{ name: 'A/x' }, { name: 'a/y' }]), /"a": it differs from "A" only/],
  ['a clash of accents', () => rawZip([{ name: '\u00e9' }, { name: 'e\u0301' }]), /only in case or accents/],
  ['a file used as a folder', () => rawZip([{ name: 'a' }, { name: 'a/b' }]), /"a": it appears twice, or is both/],
  ['a folder used as a file', () => rawZip([{ name: 'a/b' }, { name: 'a' }]), /"a": it is both a file and a folder/],
  [
    'a size that claims too little',
    () => one({ name: 'a', content: 'long content', claimedBytes: 3 }),
    /does not unpack to the 3/,
  ],
  [
    'a size that claims too much',
    () => one({ name: 'a', content: 'short', claimedBytes: 9 }),
    /does not unpack to the 9/,
  ],
  ['an empty claim', () => one({ name: 'a', content: 'short', claimedBytes: 0 }), /does not unpack to the 0/],
  [
    'a wrong checksum',
    () => one({ name: 'a', content: 'x', claimedCrc32: 1 }),
    /"a": its content is damaged \(wrong checksum\)/,
  ],
  [
    'broken deflate data',
    () => one({ name: 'a', content: 'x', packed: Buffer.from('garbage!') }),
    /"a": its data is damaged/,
  ],
  ['cut deflate data', cutDeflate, /"a": its data is damaged|does not unpack/],
  ['another name before the data', () => one({ name: 'a', localName: 'b' }), /"a": it has another name in front/],
  ['overlapping entries', overlapping, /its data overlaps that of another entry/],
  [
    'more entries than declared',
    () => rawZip([{ name: 'a' }, { name: 'b' }], { claimedEntries: 1 }),
    /more entries than it declares/,
  ],
  ['fewer entries than declared', () => rawZip([{ name: 'a' }], { claimedEntries: 2 }), /the zip is damaged/],
  [
    'a bomb by ratio',
    () => one({ name: 'a', content: Buffer.alloc(8 * megabyte.length) }),
    /over 200 times its own size/,
  ],
  ['a bomb by total', bombByTotal, /unpacks to 1\.\d GiB|unpacks to 1\d\d\d(\.\d)? MiB, the limit is 1024 MiB/],
  ['a large bomb that lies about its size', lyingBomb, /does not unpack to the 5000000 bytes/],
  ['100,001 entries', () => manyEntries(100_001), /it has 100001 entries, the limit is 100000/],
  ['100,001 folders that 2,000 entries imply', impliedFolders, /more than 100000 files and folders/],
]

for (const [title, archive, message] of hostile) {
  test(`unpack refuses ${title}, and nothing of it stays`, async (t) => {
    const { store, folder, digest } = await stored(t, await archive())
    const { retryable } = await rejects(store.unpack(digest), 'invalid', message)
    assert.equal(retryable, false)
    assert.deepEqual(await readdir(join(folder, 'tmp')), [])
    assert.deepEqual(await readdir(join(folder, 'trees')), [])
    assert.deepEqual((await readdir(folder)).toSorted(), ['blobs', 'derived', 'roots', 'tmp', 'trees'])
  })
}

test('unpack keeps content and the executable bit, and drops every other mode bit', async (t) => {
  const archive = rawZip([
    { name: 'bin/run', content: 'echo', mode: 0o104777 },
    { name: 'lib/index.js', content: 'export {}', mode: 0o100600 },
    { name: './note.txt', content: 'from Windows' },
    { name: 'empty/', mode: 0o041777 },
    { name: 'nothing', content: '', method: 0 },
    { name: 'stored', content: 'as it is', method: 0 },
    { name: '\u00fcber/\u65e5\u672c.txt', content: 'unicode', flags: 0 },
  ])
  const { store, digest } = await stored(t, archive)
  const { folder, bytes, entries } = await store.unpack(digest)
  const found = await readdir(folder, { recursive: true })
  const files = ['bin/run', 'lib/index.js', 'note.txt', 'nothing', 'stored', '\u00fcber/\u65e5\u672c.txt']
  assert.deepEqual(found.toSorted(), [...files, 'bin', 'lib', 'empty', '\u00fcber'].toSorted())
  assert.equal(bytes, 4 + 9 + 12 + 8 + 7)
  assert.equal(entries, 10)
  assert.equal((await stat(join(folder, 'bin/run'))).mode & 0o7777, 0o755)
  assert.equal((await stat(join(folder, 'lib/index.js'))).mode & 0o7777, 0o644)
  assert.equal((await stat(join(folder, 'empty'))).mode & 0o7777, 0o755)
  assert.equal((await stat(folder)).mode & 0o7777, 0o755)
  assert.equal(await readFile(join(folder, 'stored'), 'utf8'), 'as it is')
})

test('unpack reads what yazl writes, with data descriptors, zip64 and a file large enough to be streamed', async (t) => {
  const zip = new yazl.ZipFile()
  const large = Buffer.alloc(6 * megabyte.length, 'not so repetitive 0123456789 '.repeat(3))
  for (let at = 0; at < large.length; at += 512) large.writeUInt32LE((at * 2_654_435_761) >>> 0, at)
  zip.addReadStream(Readable.from([large]), 'large.bin', { mode: file })
  zip.addBuffer(Buffer.from('hello'), 'a/b/c.txt', { forceZip64Format: true })
  zip.addEmptyDirectory('a/empty')
  zip.end({ forceZip64Format: true, comment: '' })
  const { store, digest } = await stored(t, await bytesOf(zip))
  const { folder } = await store.unpack(digest)
  assert.ok((await readFile(join(folder, 'large.bin'))).equals(large))
  assert.equal(await readFile(join(folder, 'a/b/c.txt'), 'utf8'), 'hello')
})

test('unpack takes a small file of blanks: the ratio counts from 1 MiB on', async (t) => {
  const { store, digest } = await stored(t, one({ name: 'blanks', content: Buffer.alloc(megabyte.length) }))
  assert.equal((await store.unpack(digest)).bytes, megabyte.length)
})

test('unpack keeps links that stay inside, folders and files alike', async (t) => {
  const archive = rawZip([
    linkTo('node_modules/.bin/tool', '../tool/cli.js'),
    { name: 'node_modules/tool/cli.js', content: 'run', mode: 0o100755 },
    linkTo('packages', './node_modules/'),
    linkTo('later', 'not-there-yet'),
  ])
  const { store, digest } = await stored(t, archive)
  const { folder, entries } = await store.unpack(digest)
  assert.equal(await readlink(join(folder, 'node_modules/.bin/tool')), '../tool/cli.js')
  assert.equal(await readFile(join(folder, 'packages/.bin/tool'), 'utf8'), 'run')
  assert.equal((await stat(join(folder, 'packages/.bin/tool'))).mode & 0o7777, 0o755)
  assert.equal(await readlink(join(folder, 'later')), 'not-there-yet')
  assert.equal(entries, 4 + 3)
})

function linkTo(name: string, content: string | Buffer): RawEntry {
  return { name, content, mode: link }
}

function linked(name: string, content: string | Buffer): Buffer {
  return one(linkTo(name, content))
}

function one(entry: RawEntry): Buffer {
  return rawZip([entry])
}

function plain(): Buffer {
  return rawZip([
    { name: 'a', content: 'one' },
    { name: 'b', content: 'two' },
  ])
}

function cutOut(): Buffer {
  const whole = plain()
  return Buffer.concat([whole.subarray(0, 20), whole.subarray(40)])
}

function cutDeflate(): Buffer {
  const content = Buffer.from(Array.from({ length: 3_000 }, (_, i) => (i * 7919) % 251))
  return one({ name: 'a', content, packed: deflateRawSync(content).subarray(0, 200) })
}

/** The header and data of "b" lie inside the data of "a", so that both use the same bytes: the core of the quine bombs. */
function overlapping(): Buffer {
  const inner = { name: 'b', content: 'shared' }
  return rawZip([
    { name: 'a', content: rawZip([inner]), method: 0 },
    { ...inner, insideOf: 0 },
  ])
}

/** 1,100 MiB in claims whose ratio is harmless: the claim alone is refused. */
function bombByTotal(): Buffer {
  const padding = Buffer.alloc(64 * 1024, 'x')
  return rawZip(
    Array.from({ length: 11 }, (_, i) => ({
      name: `f${i}`,
      method: 8,
      packed: Buffer.concat(Array.from({ length: 8 }, () => padding)),
      claimedBytes: 100 * megabyte.length,
      content: 'x',
    })),
  )
}

/** Claims 5 MB, which is streamed, and inflates to 64 MiB. */
function lyingBomb(): Buffer {
  return one({ name: 'a', packed: deflateRawSync(Buffer.alloc(64 * megabyte.length)), claimedBytes: 5_000_000 })
}

function manyEntries(count: number): Buffer {
  return rawZip(Array.from({ length: count }, (_, i) => ({ name: `f${i}`, content: 'x', method: 0 })))
}

function impliedFolders(): Buffer {
  return rawZip(
    Array.from({ length: 2_000 }, (_, i) => ({ name: `${i}${'/d'.repeat(60)}/f`, content: 'x', method: 0 })),
  )
}

async function bytesOf(zip: yazl.ZipFile): Promise<Buffer> {
  return buffer(zip.outputStream)
}

async function stored(t: TestContext, archive: Buffer) {
  const folder = await mkdtemp(join(tmpdir(), 'hearth-artifact-'))
  t.after(() => rm(folder, { recursive: true }))
  const store = await openArtifactStore({ folder, logger: silentLogger })
  t.after(() => store.close())
  const { digest } = await store.put(Readable.from([archive]))
  return { store, folder, digest }
}
