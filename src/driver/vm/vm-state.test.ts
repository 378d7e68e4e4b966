import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RuntimeImage } from '../../domain/image.ts'
import { checkAccelerator, checkSnapshotImage, parseVmState } from './vm-state.ts'

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

test('checkSnapshotImage refuses the image that was built anew in place of the one a snapshot has in its memory', () => {
  const runtime: RuntimeImage['runtime'] = {
    ...{ id: 'node26', family: 'node', version: '26.1.0', executable: '/bin/node', prefix: '', isBridged: false },
    ...{ digest: 'sha256:a', image: 'sha256:a' },
  }
  const image: RuntimeImage = { digest: 'sha256:1', path: '/i', bytes: 1, guest: 'sha256:g', runtime, skipped: [] }
  checkSnapshotImage({ id: 's-1', key: { image: 'sha256:1' } }, image)
  assert.throws(() => checkSnapshotImage({ id: 's-1', key: { image: 'sha256:0' } }, image), {
    code: 'driver_failed',
    message: 'Snapshot s-1 has root image sha256:0, that of node26 is sha256:1.',
  })
})
