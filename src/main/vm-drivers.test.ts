import assert from 'node:assert/strict'
import { test } from 'node:test'
import { missingVmms, refuseMissing } from './vm-drivers.ts'

const programs = { qemu: '/bin/qemu', firecracker: '/bin/firecracker', jailer: '/bin/jailer' }

test('missingVmms: on arm64 there is no driver, whatever programs are there: no guest has a kernel', () => {
  assert.deepEqual(missingVmms(programs, { arch: 'x64', hasKvm: true }), [])
  const fix = 'a machine with an x86-64 processor'
  assert.deepEqual(missingVmms(programs, { arch: 'arm64', hasKvm: true }), [
    { name: 'firecracker', detail: 'There is no kernel for guests on arm64 yet.', fix },
    { name: 'qemu', detail: 'Its "microvm" machine is there on x86-64 alone, and this is arm64.', fix },
  ])
})

test('missingVmms: without KVM a machine is told so, not to install a Firecracker that it cannot have', () => {
  const firecracker = (hasKvm: boolean, found: string) =>
    missingVmms({ ...programs, firecracker: found }, { hasKvm }).find(({ name }) => name === 'firecracker')
  for (const found of ['', programs.firecracker])
    assert.deepEqual(firecracker(false, found), {
      name: 'firecracker',
      detail: 'This machine has no /dev/kvm.',
      fix: 'a machine with KVM, or nested virtualisation',
    })
  assert.match(firecracker(true, '')?.fix ?? '', /sudo hearth doctor --fix/)
  assert.equal(firecracker(true, programs.firecracker), undefined)
})

test('refuseMissing: a driver that is named is refused for whatever it lacks, with what helps; auto goes without', () => {
  const missing = missingVmms({ ...programs, jailer: '', qemu: '' }, { hasKvm: true, arch: 'x64' })
  assert.throws(() => refuseMissing({ driver: 'firecracker' }, missing), {
    code: 'invalid',
    field: 'driver',
    message: 'Cannot use driver "firecracker": its jailer is not on this machine.',
    detail: /^What helps: sudo hearth doctor --fix/,
  })
  assert.throws(() => refuseMissing({ driver: 'qemu' }, missing), /"qemu": its program is not on this machine\.$/)
  for (const driver of ['auto', 'process'] as const) refuseMissing({ driver }, missing)
  refuseMissing({ driver: 'qemu' }, missingVmms(programs, { hasKvm: false, arch: 'x64' }))
})
