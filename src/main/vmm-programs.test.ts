import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { installedFirecracker, pinnedRelease } from '../image/firecracker-release.ts'
import { findVmmPrograms, vmmFolder } from './vmm-programs.ts'

const folder = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'hearth-vmm-')))
after(() => rmSync(folder, { recursive: true, force: true }))
const none = { qemu: '', firecracker: '', jailer: '' }
const unset = { ...none, cache: path.join(folder, 'cache') }

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
  assert.deepEqual(findVmmPrograms(unset, { PATH: `relative:/nowhere:${folder}` }), { ...none, firecracker: real })
  assert.deepEqual(findVmmPrograms(unset, {}), none)
})

test('findVmmPrograms: a configured program comes first, and is refused when it cannot be run', () => {
  const qemu = program('my-qemu')
  assert.equal(findVmmPrograms({ ...unset, qemu }, { PATH: '/usr/bin' }).qemu, qemu)
  const jailer = path.join(folder, 'no-jailer')
  assert.throws(() => findVmmPrograms({ ...unset, jailer }, {}), {
    code: 'invalid',
    message: `Cannot use jailer ${jailer}: it is no program that can be run.`,
  })
})

test('findVmmPrograms: what doctor --fix installed is found, after the PATH', (t) => {
  const release = pinnedRelease()
  if (release === null) return t.skip('Firecracker does not run on this processor')
  const cache = path.join(folder, 'fixed')
  const installed = installedFirecracker(vmmFolder({ cache }, {}), release)
  mkdirSync(path.dirname(installed.jailer), { recursive: true })
  for (const file of Object.values(installed)) writeFileSync(file, '', { mode: 0o755 })
  assert.deepEqual(findVmmPrograms({ ...unset, cache }, {}), { ...none, ...installed })
  const onPath = program('firecracker')
  assert.equal(findVmmPrograms({ ...unset, cache }, { PATH: folder }).firecracker, realpathSync(onPath))
})
