import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { shelvedKernels, shelveKernel, type NewKernel } from './kernel-shelf.ts'

const scratch = mkdtempSync(path.join(os.tmpdir(), 'hearth-shelf-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

/** A minimal ELF with the note and the words by which a kernel is known. */
function kernel(): NewKernel {
  const elf = Buffer.alloc(64 + 56 + 20)
  elf.write('\x7fELF\x02\x01\x01', 'latin1')
  elf.writeUInt16LE(62, 18)
  elf.writeBigUInt64LE(64n, 32)
  elf.writeUInt16LE(56, 54)
  elf.writeUInt16LE(1, 56)
  elf.writeUInt32LE(4, 64)
  elf.writeBigUInt64LE(120n, 72)
  elf.writeBigUInt64LE(20n, 96)
  for (const [at, value] of [4, 4, 18].entries()) elf.writeUInt32LE(value, 120 + at * 4)
  elf.write('Xen', 132)
  const vmlinux = Buffer.concat([elf, Buffer.from('Linux version 6.1.999 (x@y)\0virtio-mmio\0erofs\0')])
  return { kind: 'debian', profile: null, vmlinux, initramfs: Buffer.from('cpio'), origin: 'test', key: 'k' }
}

test('shelveKernel: two processes at once both have it, whole, and leave no draft', async () => {
  const rounds = 40
  const gate = new SharedArrayBuffer(4)
  const code = `
    const { workerData, parentPort } = require('node:worker_threads')
    import(workerData.module).then(({ shelveKernel }) => {
      const here = new Int32Array(workerData.gate)
      for (let round = 0; round < workerData.rounds; round++) {
        Atomics.add(here, 0, 1)
        while (Atomics.load(here, 0) < (round + 1) * 2) {}
        shelveKernel(workerData.scratch + '/' + round, {
          ...workerData.kernel,
          vmlinux: Buffer.from(workerData.kernel.vmlinux), initramfs: Buffer.from(workerData.kernel.initramfs),
        })
      }
    })`
  const module = new URL('./kernel-shelf.ts', import.meta.url).href
  const workerData = { module, gate, rounds, scratch, kernel: kernel() }
  const threads = [1, 2].map(() => new Worker(code, { eval: true, workerData }))
  await Promise.all(
    threads.map(
      (thread) =>
        new Promise<void>((resolve, reject) => {
          thread.on('error', reject)
          thread.on('exit', () => resolve())
        }),
    ),
  ).finally(() => Promise.all(threads.map((thread) => thread.terminate())))
  for (let round = 0; round < rounds; round++) {
    assert.equal(shelvedKernels(path.join(scratch, String(round))).length, 1)
    assert.deepEqual(readdirSync(path.join(scratch, String(round), 'tmp')), [])
  }
})

test('shelveKernel: a damaged one of the same digest is replaced', () => {
  const folder = path.join(scratch, 'damaged')
  const { vmlinux } = shelveKernel(folder, kernel())
  writeFileSync(vmlinux, 'half')
  mkdirSync(path.join(path.dirname(vmlinux), 'more'))
  assert.deepEqual(shelvedKernels(folder), [])
  assert.equal(shelveKernel(folder, kernel()).vmlinux, vmlinux)
  assert.deepEqual(readFileSync(vmlinux), kernel().vmlinux)
  assert.deepEqual(readdirSync(path.join(folder, 'tmp')), [])
})
