import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { silentLogger } from '../domain/logger.ts'
import { ProbeVerdicts } from './probe-verdicts.ts'

test('ProbeVerdicts: a failure is known to the next platform until it is a day old, the machine boots, or doctor clears it', (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-verdicts-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const open = (): ProbeVerdicts => new ProbeVerdicts(path.join(folder, 'made/when/needed'), silentLogger)
  const file = path.join(folder, 'made/when/needed/failed.json')
  assert.equal(open().failureOf('qemu 7.2 kvm'), null)
  open().failed('qemu 7.2 kvm', 'the deadline passed')
  open().failed('firecracker 1.13 kvm', 'no')
  assert.equal(open().failureOf('qemu 7.2 kvm'), 'the deadline passed')
  assert.equal(open().failureOf('qemu 8.0 kvm'), null, 'another version may work')

  const rewrite = (change: (text: string) => string): void => writeFileSync(file, change(readFileSync(file, 'utf8')))
  rewrite((text) => text.replaceAll(/"at":\d+/g, `"at":${Date.now() - 25 * 3_600_000}`))
  assert.equal(open().failureOf('qemu 7.2 kvm'), null, 'too old')
  open().failed('qemu 7.2 kvm', 'again')
  rewrite((text) => text.replaceAll(/"[0-9a-f-]{36} /g, '"another-boot '))
  assert.equal(open().failureOf('qemu 7.2 kvm'), null, 'of another boot')
  open().failed('qemu 7.2 kvm', 'again')
  open().clear()
  assert.equal(open().failureOf('qemu 7.2 kvm'), null)
  writeFileSync(file, '{"half')
  assert.equal(open().failureOf('qemu 7.2 kvm'), null)
})

test('ProbeVerdicts: a folder that cannot be made costs nothing but time', () => {
  const verdicts = new ProbeVerdicts(path.join(import.meta.filename, 'folder'), silentLogger)
  verdicts.failed('x', 'y')
  assert.equal(verdicts.failureOf('x'), null)
})
