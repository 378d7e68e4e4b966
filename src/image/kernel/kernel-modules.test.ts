import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { zstdCompressSync } from 'node:zlib'
import { modulesInOrder } from './kernel-modules.ts'

const scratch = mkdtempSync(path.join(os.tmpdir(), 'hearth-modules-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

/** An ELF file with the one section that says what a module depends on. */
function module(depends: string): Buffer {
  const info = Buffer.from(`license=GPL\0depends=${depends}\0name=x\0`)
  const names = Buffer.from('\0.modinfo\0.shstrtab\0')
  const head = Buffer.alloc(64)
  head.write('\x7fELF\x02\x01\x01', 'latin1')
  head.writeUInt16LE(62, 18)
  head.writeBigUInt64LE(BigInt(64 + info.length + names.length), 40)
  head.writeUInt16LE(64, 58)
  head.writeUInt16LE(3, 60)
  head.writeUInt16LE(2, 62)
  const section = (nameAt: number, from: number, bytes: number): Buffer => {
    const entry = Buffer.alloc(64)
    entry.writeUInt32LE(nameAt, 0)
    entry.writeUInt32LE(1, 4)
    entry.writeBigUInt64LE(BigInt(from), 24)
    entry.writeBigUInt64LE(BigInt(bytes), 32)
    return entry
  }
  const table = [Buffer.alloc(64), section(1, 64, info.length), section(10, 64 + info.length, names.length)]
  return Buffer.concat([head, info, names, ...table])
}

function modules(name: string, contents: Readonly<Record<string, Buffer>>): string {
  for (const [file, content] of Object.entries(contents)) {
    mkdirSync(path.dirname(path.join(scratch, name, file)), { recursive: true })
    writeFileSync(path.join(scratch, name, file), content)
  }
  return path.join(scratch, name)
}

test('modulesInOrder: dependencies first and once, by either spelling, packed or not; what is built in is left out', () => {
  const folder = modules('order', {
    'net/virtio_net.ko': module('net-failover,virtio'),
    'net/net_failover.ko.zst': zstdCompressSync(module('failover')),
    'net/failover.ko': module(''),
    'virtio/virtio.ko': module('virtio-ring'),
    'virtio/virtio_ring.ko': module(''),
    'fs/erofs.ko': module('libcrc32c'),
    'lib/libcrc32c.ko': module(''),
  })
  assert.deepEqual(
    modulesInOrder(folder, ['virtio', 'virtio_net', 'vsock', 'erofs']).map(({ name }) => name),
    ['virtio_ring', 'virtio', 'failover', 'net_failover', 'virtio_net', 'libcrc32c', 'erofs'],
  )
})

test('modulesInOrder: unpacks what Debian 13 has as xz', (t) => {
  const packed = spawnSync('xz', ['-c'], { input: module('') })
  if (packed.error !== undefined) return t.skip('needs xz')
  const [only] = modulesInOrder(modules('xz', { 'a.ko.xz': packed.stdout }), ['a'])
  assert.ok(only?.content.equals(module('')))
})

test('modulesInOrder: a dependency that is missing is named, with who needs it', () => {
  assert.throws(() => modulesInOrder(modules('missing', { 'a.ko': module('gone') }), ['a']), {
    code: 'driver_failed',
    message: /: module a needs gone, which is missing\.$/,
  })
})
