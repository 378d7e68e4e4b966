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

test('findVmmPrograms: what doctor --fix installed is found, when the PATH has not both; Firecracker and jailer come from one place', (t) => {
  const release = pinnedRelease()
  if (release === null) return t.skip('Firecracker does not run on this processor')
  const cache = path.join(folder, 'fixed')
  const installed = installedFirecracker(vmmFolder({ cache }, {}), release)
  mkdirSync(path.dirname(installed.jailer), { recursive: true })
  writeFileSync(installed.firecracker, '', { mode: 0o755 })
  assert.deepEqual(findVmmPrograms({ ...unset, cache }, {}), none)
  writeFileSync(installed.jailer, '', { mode: 0o755 })
  assert.deepEqual(findVmmPrograms({ ...unset, cache }, {}), { ...none, ...installed })
  const [one, other] = [path.join(folder, 'one'), path.join(folder, 'other')]
  for (const each of [one, other]) mkdirSync(each)
  const firecracker = program('one/firecracker')
  assert.deepEqual(findVmmPrograms({ ...unset, cache }, { PATH: one }), { ...none, ...installed })
  const jailer = program('other/jailer')
  assert.deepEqual(findVmmPrograms({ ...unset, cache }, { PATH: other }), { ...none, ...installed })
  const both = { ...none, firecracker, jailer }
  assert.deepEqual(findVmmPrograms({ ...unset, cache }, { PATH: `${one}:${other}` }), both)
})

test('findVmmPrograms: to a configured Firecracker or jailer belongs the other beside it, else on the PATH, never the installed one', () => {
  const [named, onPath] = [path.join(folder, 'named'), path.join(folder, 'on-path')]
  for (const each of [named, onPath]) mkdirSync(each)
  const firecracker = program('named/firecracker')
  const config = { ...unset, cache: path.join(folder, 'fixed'), firecracker }
  assert.deepEqual(findVmmPrograms(config, { PATH: onPath }), { ...none, firecracker })
  const far = program('on-path/jailer')
  assert.deepEqual(findVmmPrograms(config, { PATH: onPath }), { ...none, firecracker, jailer: far })
  const jailer = program('named/jailer')
  assert.deepEqual(findVmmPrograms(config, { PATH: onPath }), { ...none, firecracker, jailer })
  assert.deepEqual(findVmmPrograms({ ...unset, jailer }, { PATH: onPath }), { ...none, firecracker, jailer })
})
