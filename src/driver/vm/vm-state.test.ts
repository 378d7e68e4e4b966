import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkAccelerator, parseVmState } from './vm-state.ts'

const state = {
  ...{ instance: 'i-1', memoryMib: 128, vmm: 'qemu 7.2.22', accelerator: 'tcg', image: 'sha256:1', hasCode: true },
  ...{ sockets: 'what a VMM adds' },
}

test('parseVmState gives back what was written, and names the field that is wrong', () => {
  assert.deepEqual(parseVmState(state, 'qemu 7.2.22'), state)
  const { accelerator, ...without } = state
  assert.throws(() => parseVmState(without, 'qemu 7.2.22'), /"accelerator" must be kvm or tcg/, accelerator)
})

test('checkAccelerator refuses what the operator refuses, and machines of another accelerator than those made here', () => {
  const tcg = { accelerator: 'tcg' } as const
  const refused = { tcg: 'refused by "multiTenant"' }
  assert.throws(() => checkAccelerator(tcg, { refused, here: null }), {
    code: 'driver_failed',
    message: 'It runs on tcg: refused by "multiTenant".',
  })
  assert.throws(() => checkAccelerator(tcg, { refused: {}, here: 'kvm' }), {
    message: 'It runs on tcg, machines are made on kvm here.',
  })
  checkAccelerator(tcg, { refused: {}, here: null })
  checkAccelerator({ accelerator: 'kvm' }, { refused, here: 'kvm' })
})
