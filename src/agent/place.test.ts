import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeDriver } from '../../test/support/agent-rig.ts'
import type { Driver } from '../domain/driver.ts'
import { DriverChoice } from './place.ts'

const sandbox = new FakeDriver()
const onKvm = new FakeDriver({ isVm: true })
const emulated = new FakeDriver({ isVm: true, accelerator: 'tcg' })

function choice(drivers: readonly Driver[], policy: { demand?: 'any' | 'vm'; autoMayEmulate?: boolean } = {}) {
  return new DriverChoice(drivers, { demand: 'any', autoMayEmulate: false, ...policy })
}

test('DriverChoice: auto takes the first that works, but an emulated machine only where the operator wants that', () => {
  assert.equal(choice([onKvm, sandbox]).of('auto'), onKvm)
  assert.equal(choice([emulated, sandbox]).of('auto'), sandbox)
  assert.equal(choice([emulated, sandbox]).of('vm'), emulated, 'who asks for it gets it')
  assert.equal(choice([emulated, sandbox], { autoMayEmulate: true }).of('auto'), emulated)
  assert.throws(() => choice([emulated]).of('auto'), { message: /^No driver works on this node/ })
})

test('DriverChoice: under a demand for microVMs a process is refused with the reason, and auto never falls back to one', () => {
  const demanding = choice([sandbox, onKvm], { demand: 'vm', autoMayEmulate: true })
  assert.equal(demanding.of('auto'), onKvm)
  assert.equal(demanding.of('vm'), onKvm)
  assert.throws(() => demanding.of('process'), {
    code: 'driver_failed',
    message: /microVMs alone \(its setting isolation is "vm"\), and this version asks for a process: update it/,
  })
  demanding.setWorking([sandbox])
  assert.throws(() => demanding.of('auto'), { message: /^No microVM driver works on this node/ })
})
