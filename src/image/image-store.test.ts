import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import type { Digest } from '../domain/artifact.ts'
import { codeImageBytes, type ImageStore } from '../domain/image.ts'
import { silentLogger, type Logger } from '../domain/logger.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'
import { openImageStore, type ImageStoreOptions } from './image-store.ts'
import { currentKernel, shelveKernel, useKernel } from './kernel/kernel-shelf.ts'
import { imageKey, imagePath, indexImage } from './runtime-index.ts'
import { turnsUntil } from '../../test/support/turns.ts'

const scratch = mkdtempSync(path.join(os.tmpdir(), 'hearth-images-'))
const opened: ImageStore[] = []
after(async () => {
  await Promise.all(opened.map((store) => store.close()))
  rmSync(scratch, { recursive: true, force: true })
})

const guestProgram = path.join(scratch, 'guest')
writeFileSync(guestProgram, readFileSync('/bin/true'), { mode: 0o755 })
const shimFolder = path.resolve(import.meta.dirname, '../../runtimes')

function storeOptions(name: string): ImageStoreOptions {
  const folder = path.join(scratch, name)
  const codeFolder = path.join(folder, 'code')
  return { folder, shared: [], codeFolder, kernelFile: null, shimFolder, guestProgram, logger: silentLogger }
}

function open(name: string, options: Partial<ImageStoreOptions> = {}): ImageStore {
  const store = openImageStore({ ...storeOptions(name), ...options })
  opened.push(store)
  return store
}

function files(name: string, contents: Readonly<Record<string, string>>): string {
  for (const [file, content] of Object.entries(contents)) {
    mkdirSync(path.dirname(path.join(scratch, name, file)), { recursive: true })
    writeFileSync(path.join(scratch, name, file), content)
  }
  return path.join(scratch, name)
}

const node: RuntimeBuild = {
  id: 'node26',
  family: 'node',
  version: process.versions.node,
  executable: process.execPath,
  prefix: path.dirname(path.dirname(process.execPath)),
  digest: `sha256:${'1'.repeat(64)}`,
  image: `sha256:${'1'.repeat(64)}`,
  isBridged: false,
}

function contents(image: string): string {
  const env = { PATH: `${process.env['PATH']}:/usr/sbin` }
  const out = mkdtempSync(path.join(scratch, 'out-'))
  execFileSync('fsck.erofs', [`--extract=${out}`, image], { env })
  return execFileSync('sh', ['-c', 'find . -type f -exec sh -c \'echo "$1 $(cat "$1")"\' - {} \\; | sort'], {
    cwd: out,
    encoding: 'utf8',
  })
}

const hasFsck = existsSync('/usr/bin/fsck.erofs') || existsSync('/usr/sbin/fsck.erofs')

test('codeImage: task, cache and merged layers in one sparse image; made once, however many ask and however often', async (t) => {
  if (!hasFsck) return t.skip('needs fsck.erofs (package erofs-utils)')
  const store = open('code-one')
  const code = {
    codeFolder: files('fn', { 'index.js': 'code' }),
    cacheFolder: files('bytecode', { 'index.js.cache': 'bytes' }),
    layerFolders: [files('l1', { 'lib/a': '1', 'lib/b': '1' }), files('l2', { 'lib/b': '2' })],
  }
  const [first, second] = await Promise.all([store.codeImage(code, 'a'), store.codeImage({ ...code }, 'a')])
  assert.equal(first, second)
  assert.equal(
    contents(first.path),
    './cache/index.js.cache bytes\n./opt/lib/a 1\n./opt/lib/b 2\n./task/index.js code\n',
  )
  assert.equal(statSync(first.path).size, codeImageBytes)
  assert.ok(statSync(first.path).blocks * 512 <= 64 * 1024)
  assert.equal(statSync(first.path).mode & 0o777, 0o644)
  // The same content elsewhere is the same image; another store finds it on disk.
  const again = await open('code-one').codeImage({ ...code, codeFolder: files('fn-copy', { 'index.js': 'code' }) }, 'b')
  assert.deepEqual(again, first)
  assert.deepEqual(readdirSync(path.join(scratch, 'code-one/code')), [path.basename(first.path), 'owners'])
})

test('runtimeImage: an interpreter and its bridged form share an image, and each is started as what it is, whoever asked first', async () => {
  const digest: Digest = `sha256:${'2'.repeat(64)}`
  const bridged: RuntimeBuild = { ...node, digest: `sha256:${'3'.repeat(64)}`, isBridged: true }
  for (const [name, asked] of [
    ['shim-first', [node, bridged]],
    ['bridge-first', [bridged, node]],
  ] as const) {
    const store = open(name)
    const folder = path.join(scratch, name, 'runtimes')
    files(`${name}/runtimes`, { [path.basename(imagePath(folder, digest))]: 'image' })
    const key = await imageKey(node, { guestProgram, shimFolder })
    indexImage(folder, key, { digest, bytes: 'image'.length, runtime: node, builtAt: 1, skipped: [] })
    for (const build of asked) {
      const image = await store.runtimeImage(build)
      assert.deepEqual([image.digest, image.runtime.isBridged], [digest, build.isBridged], name)
    }
  }
})

test('placeholder: the three folders, empty, at the size of every code image', async (t) => {
  if (!hasFsck) return t.skip('needs fsck.erofs (package erofs-utils)')
  const { path: file } = await open('empty').placeholder()
  assert.equal(statSync(file).size, codeImageBytes)
  const out = mkdtempSync(path.join(scratch, 'out-'))
  execFileSync('fsck.erofs', [`--extract=${out}`, file], { env: { PATH: '/usr/bin:/usr/sbin' } })
  assert.deepEqual(readdirSync(out).sort(), ['cache', 'opt', 'task'])
})

test('codeImage: a failure names the file, leaves nothing, and is tried again', async () => {
  const store = open('retry')
  const codeFolder = files('bad', { 'index.js': 'x' })
  execFileSync('mkfifo', [path.join(codeFolder, 'pipe')])
  const code = { codeFolder, cacheFolder: null, layerFolders: [] }
  await assert.rejects(store.codeImage(code, 'a'), {
    code: 'driver_failed',
    message: /bad\/pipe" into an image: it is a device/,
  })
  rmSync(path.join(codeFolder, 'pipe'))
  await store.codeImage(code, 'a')
})

test('codeImage: the event loop does not wait for a large tree', async () => {
  const many = Object.fromEntries(Array.from({ length: 1_500 }, (_, n) => [`f${n}.js`, `module.exports = ${n}\n`]))
  const code = { codeFolder: files('large', many), cacheFolder: null, layerFolders: [] }
  const store = open('stall')
  await store.placeholder() // The thread is up.
  const turns = await turnsUntil(store.codeImage(code, 'a'))
  // Made on this thread it would be a turn or two, however slow the machine is.
  assert.ok(turns > 50, `${turns} turns of the event loop`)
})

test('codeImage: a disk without room for it is refused before anything is written', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('needs root, to mount a small disk')
  const disk = path.join(scratch, 'disk')
  mkdirSync(disk)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=65m', 'tmpfs', disk])
  try {
    const code = { codeFolder: files('big', { large: 'x'.repeat(2 * 2 ** 20) }), cacheFolder: null, layerFolders: [] }
    const store = open('full', { codeFolder: path.join(disk, 'code') })
    await assert.rejects(store.codeImage(code, 'a'), {
      code: 'capacity',
      message: /^Cannot make an image of 3 MiB: only 6\d MiB are free for ".*code"\. Free space, then retry\.$/,
    })
    assert.deepEqual(readdirSync(path.join(disk, 'code/tmp')), [])
  } finally {
    execFileSync('umount', [disk])
  }
})

test('runtimeImage: built once, found by a later store and through a shared folder, valid for fsck.erofs', async (t) => {
  if (!existsSync('/var/lib/dpkg/status')) return t.skip('needs Debian packages')
  const reported: string[] = []
  const image = await open('runtime').runtimeImage(node, (what) => reported.push(what))
  assert.deepEqual([image.runtime.executable, image.runtime.prefix], ['/usr/local/bin/node', ''])
  assert.deepEqual(reported, ['base programs', `node26 ${node.version}`, 'shared libraries', 'image'])
  assert.equal(statSync(image.path).size, image.bytes)
  if (hasFsck) execFileSync('fsck.erofs', [image.path], { env: { PATH: '/usr/bin:/usr/sbin' } })
  const never: ImageStoreOptions['logger'] = { ...silentLogger, info: (event) => assert.fail(event) }
  assert.deepEqual(await open('runtime', { logger: never }).runtimeImage(node), image)
  const shared = { shared: [path.join(scratch, 'runtime')], logger: never }
  assert.deepEqual(await open('other', shared).runtimeImage(node), image)
  // The same interpreter at another path is the same build.
  assert.deepEqual(await open('other', shared).runtimeImage({ ...node, executable: '/absent' }), image)
})

test('runtimeImage: one that cannot be built anew is served from before, and the log says why', async (t) => {
  if (!existsSync('/var/lib/dpkg/status')) return t.skip('needs Debian packages')
  const folder = path.join(scratch, 'runtime/runtimes')
  const [index] = readdirSync(folder).filter((name) => name.endsWith('.json'))
  assert.ok(index !== undefined, 'made by the test before')
  // As after an upgrade of the machine's packages: nothing is known by the new key.
  execFileSync('mv', [path.join(folder, index), path.join(folder, `${'0'.repeat(32)}.json`)])
  const warned: unknown[] = []
  const logger: Logger = { ...silentLogger, warn: (event, fields) => warned.push([event, fields?.['why']]) }
  const image = await open('runtime', { logger }).runtimeImage({ ...node, executable: '/absent/node' })
  assert.equal(image.runtime.executable, '/usr/local/bin/node')
  assert.match(String(warned), /image\.runtime\.old,Cannot make the image of node26: .*\/absent\/node/)
})

test('runtimeImage: what an image is without is told, and it is built anew for who wants it whole', async () => {
  const folder = path.join(scratch, 'without', 'runtimes')
  const digest: Digest = `sha256:${'6'.repeat(64)}`
  files('without/runtimes', { [path.basename(imagePath(folder, digest))]: 'image' })
  const key = await imageKey(node, { guestProgram, shimFolder })
  const skipped = ['package curl: neither installed nor to be fetched']
  indexImage(folder, key, { digest, bytes: 'image'.length, runtime: node, builtAt: 1, skipped })
  const tried: string[] = []
  const logger: Logger = { ...silentLogger, warn: (event) => void tried.push(event) }
  const build = { ...node, executable: '/absent/node' }
  assert.deepEqual((await open('without', { logger }).runtimeImage(build)).skipped, skipped)
  assert.deepEqual(tried, [])
  await open('without', { logger }).runtimeImage(build, () => {}, { isWhole: true })
  assert.deepEqual(tried, ['image.runtime.old'], 'tried, and the one from before serves')
})

test('runtimeImage: an interpreter that cannot be read is named', async (t) => {
  if (!existsSync('/var/lib/dpkg/status')) return t.skip('needs Debian packages')
  const build = { ...node, executable: '/absent/node', digest: `sha256:${'2'.repeat(64)}` } as const
  await assert.rejects(open('unreadable').runtimeImage(build), {
    code: 'driver_failed',
    message: /ENOENT.*\/absent\/node'\)\. Run "hearth image build node26" as a user who can/,
  })
  assert.deepEqual(readdirSync(path.join(scratch, 'unreadable/runtimes/tmp')), [])
})

test('kernel: refuses a configured file that is none, and takes the one in use from the shared folder', async (t) => {
  const notKernel = files('kernel-file', { vmlinux: 'text' })
  await assert.rejects(open('k1', { kernelFile: path.join(notKernel, 'vmlinux') }).kernel(), {
    code: 'invalid',
    field: 'kernel',
    message: /it is no 64-bit ELF file; a bzImage or vmlinuz must be unpacked to its vmlinux first\.$/,
  })
  await assert.rejects(open('k1', { kernelFile: '/absent' }).kernel(), /Cannot read the kernel "\/absent": ENOENT/)
  await assert.rejects(open('k1', { kernelFile: '/dev/zero' }).kernel(), /"\/dev\/zero": it is no plain file\.$/)
  if (process.arch !== 'x64') return t.skip('the rest needs x86-64')
  const cut = fakeVmlinux()
  cut.writeBigUInt64LE(9000n, 64 + 32)
  writeFileSync(path.join(notKernel, 'cut'), cut)
  await assert.rejects(open('k1', { kernelFile: path.join(notKernel, 'cut') }).kernel(), {
    code: 'invalid',
    message: /it is cut off: \d+ of its 9120 bytes are there\.$/,
  })
  const shared = path.join(scratch, 'k2')
  const shelved = shelveKernel(shared, {
    ...{ kind: 'own', profile: 'ci', vmlinux: fakeVmlinux(), initramfs: null, origin: 'test', key: 'k' },
  })
  useKernel(shared, shelved)
  const kernel = await open('k3', { shared: [shared] }).kernel()
  assert.deepEqual(
    [kernel.kind, kernel.profile, kernel.release, kernel.needsAcpi, kernel.digest],
    ['own', 'ci', '6.1.999', false, shelved.digest],
  )
})

test('prune: keeps the images of known builds and the kernel in use', async (t) => {
  if (process.arch !== 'x64') return t.skip('needs x86-64')
  const folder = path.join(scratch, 'prune')
  const store = open('prune')
  const kernels = ['a', 'b'].map((key) => {
    const vmlinux = Buffer.concat([fakeVmlinux(), Buffer.from(key)])
    return shelveKernel(folder, { kind: 'own', profile: 'ci', vmlinux, initramfs: null, origin: key, key })
  })
  const [old, used] = kernels
  assert.ok(old !== undefined && used !== undefined)
  useKernel(folder, used)
  const removed = await store.prune({ keep: [node] })
  assert.deepEqual(
    removed.map(({ digest }) => digest),
    [old.digest],
  )
  assert.equal(currentKernel(folder)?.digest, used.digest)
})

test("prune: Debian's kernel, which nobody named, stays while there is no other", async (t) => {
  if (process.arch !== 'x64') return t.skip('needs x86-64')
  const folder = path.join(scratch, 'prune-debian')
  const vmlinux = fakeVmlinux()
  const debian = shelveKernel(folder, {
    kind: 'debian',
    profile: null,
    vmlinux,
    initramfs: null,
    origin: 'd',
    key: 'd',
  })
  assert.deepEqual(await open('prune-debian').prune({ keep: [] }), [])
  const own = Buffer.concat([vmlinux, Buffer.from('own')])
  shelveKernel(folder, { kind: 'own', profile: 'ci', vmlinux: own, initramfs: null, origin: 'o', key: 'o' })
  assert.deepEqual(
    (await open('prune-debian').prune({ keep: [] })).map(({ digest }) => digest),
    [debian.digest],
  )
})

test('prune: what a store handed out stays while that is open, whatever was named since; list says the same', async (t) => {
  if (process.arch !== 'x64') return t.skip('needs x86-64')
  const folder = path.join(scratch, 'prune-open')
  const [first, second] = ['a', 'b'].map((key) => {
    const vmlinux = Buffer.concat([fakeVmlinux(), Buffer.from(key)])
    return shelveKernel(folder, { kind: 'own', profile: 'ci', vmlinux, initramfs: null, origin: key, key })
  })
  assert.ok(first !== undefined && second !== undefined)
  const [image, others] = [`sha256:${'4'.repeat(64)}`, `sha256:${'5'.repeat(64)}`] as const
  const key = await imageKey(node, { guestProgram, shimFolder })
  for (const [digest, at] of [
    [image, key],
    [others, { ...key, build: others }],
  ] as const) {
    files('prune-open/runtimes', { [path.basename(imagePath('', digest))]: 'image' })
    indexImage(path.join(folder, 'runtimes'), at, {
      digest,
      bytes: 'image'.length,
      runtime: node,
      builtAt: 1,
      skipped: [],
    })
  }
  useKernel(folder, first)
  const platform = openImageStore({ ...storeOptions('data'), shared: [folder] })
  await platform.kernel()
  await platform.runtimeImage(node)
  useKernel(folder, second)
  const current = async (): Promise<string[]> =>
    (await open('prune-open').list({ keep: [] })).flatMap(({ digest, isCurrent }) => (isCurrent ? [digest] : []))
  const kept = [first.digest, second.digest, image].toSorted()
  assert.deepEqual((await current()).toSorted(), kept)
  const removed = async (): Promise<string[]> =>
    (await open('prune-open').prune({ keep: [] })).map(({ digest }) => digest).toSorted()
  assert.deepEqual(await removed(), [others])
  await platform.close()
  assert.deepEqual(await removed(), [first.digest, image].toSorted())
  assert.deepEqual(await current(), [second.digest])
})

test('kernel: one that was removed behind the back of a store is looked for anew', async (t) => {
  if (process.arch !== 'x64') return t.skip('needs x86-64')
  const folder = path.join(scratch, 'kernel-gone')
  const [first, second] = ['a', 'b'].map((key) => {
    const vmlinux = Buffer.concat([fakeVmlinux(), Buffer.from(key)])
    return shelveKernel(folder, { kind: 'own', profile: 'ci', vmlinux, initramfs: null, origin: key, key })
  })
  assert.ok(first !== undefined && second !== undefined)
  useKernel(folder, first)
  const store = open('kernel-gone')
  assert.equal((await store.kernel()).digest, first.digest)
  rmSync(path.dirname(first.vmlinux), { recursive: true })
  assert.equal((await store.kernel()).digest, second.digest)
})

test('forgetCode: an image goes with its last owner, also after a restart; what is asked for again is made again', async () => {
  const name = 'owned'
  const code = { codeFolder: files('pruned', { x: 'x' }), cacheFolder: null, layerFolders: [] }
  const store = open(name)
  const { path: file } = await store.codeImage(code, 'default/fn:1')
  await store.codeImage(code, 'default/other:2')
  await store.forgetCode('default/fn:1')
  assert.ok(existsSync(file), 'somebody else has the same')
  const later = open(name)
  assert.deepEqual(await later.codeOwners(), ['default/other:2'])
  await later.forgetCode('default/other:2')
  assert.ok(!existsSync(file))
  assert.equal((await store.codeImage(code, 'default/fn:1')).path, file)
  assert.ok(existsSync(file), 'made again')
})

test('codeImage: an owner has one image, the one before goes', async () => {
  const store = open('one-each')
  const trees = (content: string) => ({
    codeFolder: files(content, { x: content }),
    cacheFolder: null,
    layerFolders: [],
  })
  const first = await store.codeImage(trees('early'), 'default/fn:1')
  const second = await store.codeImage(trees('late'), 'default/fn:1')
  assert.deepEqual([existsSync(first.path), existsSync(second.path)], [false, true])
})

test('prune: code images without an owner go, the placeholder and owned ones stay', async () => {
  const store = open('lost')
  const placeholder = await store.placeholder()
  const code = { codeFolder: files('lost-code', { x: 'y' }), cacheFolder: null, layerFolders: [] }
  const owned = await store.codeImage(code, 'default/fn:1')
  // As when a platform is killed between making an image and naming its owner.
  const lost = path.join(path.dirname(owned.path), `${'0'.repeat(64)}.erofs`)
  writeFileSync(lost, 'image')
  const removed = await open('lost').prune({ keep: null })
  assert.deepEqual(
    removed.map((image) => image.path),
    [lost],
  )
  assert.deepEqual([lost, placeholder.path, owned.path].map(existsSync), [false, true, true])
})

/** A minimal ELF with the note and the words by which a kernel is known. */
function fakeVmlinux(): Buffer {
  const elf = Buffer.alloc(64 + 56)
  elf.write('\x7fELF\x02\x01\x01', 'latin1')
  elf.writeUInt16LE(62, 18)
  elf.writeBigUInt64LE(64n, 32)
  elf.writeUInt16LE(56, 54)
  elf.writeUInt16LE(1, 56)
  const note = Buffer.alloc(20)
  note.writeUInt32LE(4, 0)
  note.writeUInt32LE(4, 4)
  note.writeUInt32LE(18, 8)
  note.write('Xen', 12)
  elf.writeUInt32LE(4, 64)
  elf.writeBigUInt64LE(BigInt(elf.length), 72)
  elf.writeBigUInt64LE(BigInt(note.length), 96)
  const words = 'Linux version %s\0Linux version 6.1.999 (x@y)\0virtio-mmio\0virtio-mmio-cmdline\0erofs\0'
  return Buffer.concat([elf, note, Buffer.from(words)])
}
