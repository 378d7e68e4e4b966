import assert from 'node:assert/strict'
import { test } from 'node:test'
import { emulationRefusal, isolationPolicy, refuseLess } from './isolation.ts'

const usual = { driver: 'auto', isolation: 'any', multiTenant: false, emulation: 'auto' } as const
const qemu = { name: 'qemu', isVm: true, works: true, detail: 'A guest booted.' }
const sandbox = { name: 'process', isVm: false, works: true, detail: 'A sandbox was made.' }

test('emulationRefusal: several tenants, or microVMs demanded of all, refuse emulated machines unless the operator allows them', () => {
  assert.equal(emulationRefusal(usual), null)
  assert.match(emulationRefusal({ ...usual, multiTenant: true }) ?? '', /"multiTenant": .*"emulation: allow"/)
  assert.match(emulationRefusal({ ...usual, isolation: 'vm' }) ?? '', /"isolation: vm": .* no security boundary/)
  assert.match(emulationRefusal({ ...usual, driver: 'qemu', multiTenant: true }) ?? '', /multiTenant/)
  assert.match(emulationRefusal({ ...usual, emulation: 'refuse' }) ?? '', /emulation: refuse/)
  for (const strict of [{ multiTenant: true }, { isolation: 'vm' } as const])
    assert.equal(emulationRefusal({ ...usual, ...strict, emulation: 'allow' }), null)
})

test('isolationPolicy: functions that ask for nothing run in emulated machines only where the operator named QEMU or demands microVMs', () => {
  assert.deepEqual(isolationPolicy(usual), { demand: 'any', autoMayEmulate: false })
  assert.deepEqual(isolationPolicy({ ...usual, emulation: 'allow' }), { demand: 'any', autoMayEmulate: false })
  assert.deepEqual(isolationPolicy({ ...usual, driver: 'qemu' }), { demand: 'any', autoMayEmulate: true })
  assert.deepEqual(isolationPolicy({ ...usual, isolation: 'vm' }), { demand: 'vm', autoMayEmulate: true })
})

test('refuseLess: a platform does not start with less than what was asked for', () => {
  const dead = { ...qemu, works: false, detail: 'No guest booted' }
  const lost = ['firecracker: Its program is not on this machine.', 'qemu: KVM boots no guest here.']
  refuseLess(usual, { drivers: [sandbox, dead], lost })
  refuseLess({ ...usual, isolation: 'vm' }, { drivers: [qemu], lost })
  assert.throws(() => refuseLess({ ...usual, driver: 'qemu' }, { drivers: [dead, sandbox], lost: [] }), {
    code: 'driver_failed',
    message: 'Cannot start with driver "qemu": No guest booted',
  })
  assert.throws(() => refuseLess({ ...usual, isolation: 'vm' }, { drivers: [sandbox, dead], lost }), {
    code: 'driver_failed',
    message:
      'Cannot start: the setting isolation demands microVMs, and no driver makes them here. qemu: No guest booted. firecracker: Its program is not on this machine. "hearth doctor" says what helps.',
  })
})
