import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { findVmmPrograms } from './vmm-programs.ts'

const folder = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'hearth-vmm-')))
after(() => rmSync(folder, { recursive: true, force: true }))
const none = { qemu: '', firecracker: '', jailer: '' }

function program(name: string, mode = 0o755): string {
  const file = path.join(folder, name)
  writeFileSync(file, '')
  chmodSync(file, mode)
  return file
}

test('findVmmPrograms: real paths from the PATH, nothing where there is none', () => {
  const real = program('firecracker-v1')
  symlinkSync(real, path.join(folder, 'firecracker'))
  program('jailer', 0o644)
  assert.deepEqual(findVmmPrograms(none, { PATH: `relative:/nowhere:${folder}` }), { ...none, firecracker: real })
  assert.deepEqual(findVmmPrograms(none, {}), none)
})

test('findVmmPrograms: a configured program comes first, and is refused when it cannot be run', () => {
  const qemu = program('my-qemu')
  assert.equal(findVmmPrograms({ ...none, qemu }, { PATH: '/usr/bin' }).qemu, qemu)
  const jailer = path.join(folder, 'no-jailer')
  assert.throws(() => findVmmPrograms({ ...none, jailer }, {}), {
    code: 'invalid',
    message: `Cannot use jailer ${jailer}: it is no program that can be run.`,
  })
})
