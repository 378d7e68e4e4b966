import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KernelBuild } from '../../domain/image.ts'
import { kernelWords, qemuArgv, type QemuMachine } from './command-line.ts'

const kernel: KernelBuild = {
  ...{ digest: `sha256:${'0'.repeat(64)}`, vmlinux: '/k/vmlinux', initramfs: null, kind: 'own', profile: 'ci' },
  ...{ needsAcpi: false, release: '6.1.192' },
}
const fds = {
  ...{ init: 3, supervisor: 4, runtime: 5, qmp: 6, root: 7, code: 8 },
  ...{ kernel: 9, initramfs: null, state: null, memory: null, tap: 10 },
}
const machine: QemuMachine = {
  ...{ accelerator: 'tcg', tscKhz: 2_600_000, memoryMib: 160, fds, memory: 'anonymous', needsAcpi: false },
  boot: { kernel, epoch: 'e1' },
}

/** Values given for `option`. */
function valuesOf(option: string, of: QemuMachine): string[] {
  const argv = qemuArgv(of)
  return argv.flatMap((word, at) => (word === option ? [argv[at + 1] ?? ''] : []))
}

test('qemuArgv: nothing of the host is named but descriptors', () => {
  const words = qemuArgv({ ...machine, memory: 'shared', fds: { ...fds, initramfs: 11, memory: 12 } })
  const paths = words.join(' ').match(/\/[\w/-]+/g) ?? []
  const allowed = ['/proc/self/fd/', '/dev/fdset/', '/dev/vda', '/usr/lib/hearth/hearth-guest']
  assert.deepEqual(
    paths.filter((found) => !allowed.some((prefix) => found.startsWith(prefix))),
    [],
  )
})

test('qemuArgv: QEMU is confined and has no devices but those asked for', () => {
  const words = qemuArgv(machine)
  assert.ok(words.includes('-nodefaults') && words.includes('-no-user-config') && words.includes('-no-reboot'))
  assert.deepEqual(valuesOf('-sandbox', machine), [
    'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
  ])
  assert.deepEqual(valuesOf('-device', machine), [
    'virtio-serial-device,max_ports=4',
    'virtserialport,chardev=init,name=hearth.init',
    'virtserialport,chardev=supervisor,name=hearth.supervisor',
    'virtserialport,chardev=runtime,name=hearth.runtime',
    'virtio-blk-device,drive=root-drive',
    'virtio-blk-device,drive=code-drive',
    'virtio-rng-device',
    'virtio-net-device,netdev=net0,mac=02:48:54:48:00:01',
  ])
})

test('qemuArgv: the kernel and its words, or a machine that waits for its state', () => {
  assert.deepEqual(valuesOf('-kernel', machine), ['/proc/self/fd/9'])
  assert.match(valuesOf('-append', machine)[0] ?? '', /^quiet .* hearth\.epoch=e1 init$/)
  assert.deepEqual(valuesOf('-initrd', machine), [])
  assert.deepEqual(valuesOf('-initrd', { ...machine, fds: { ...fds, initramfs: 11 } }), ['/proc/self/fd/11'])
  const waiting = { ...machine, boot: null, fds: { ...fds, kernel: null } }
  assert.deepEqual(valuesOf('-incoming', waiting), ['defer'])
  for (const option of ['-kernel', '-append', '-initrd']) assert.deepEqual(valuesOf(option, waiting), [])
})

test("qemuArgv: memory is shared to be saved, private in a clone, else nobody else's", () => {
  const saved = { ...fds, memory: 12 }
  const memoryOf = (of: QemuMachine) => valuesOf('-object', of).filter((value) => value.startsWith('memory-'))
  assert.deepEqual(memoryOf(machine), ['memory-backend-ram,id=ram0,size=160M'])
  assert.deepEqual(memoryOf({ ...machine, memory: 'shared', fds: saved }), [
    'memory-backend-file,id=ram0,size=160M,mem-path=/proc/self/fd/12,share=on',
  ])
  assert.deepEqual(memoryOf({ ...machine, memory: 'private', fds: saved }), [
    'memory-backend-file,id=ram0,size=160M,mem-path=/proc/self/fd/12,share=off',
  ])
  assert.deepEqual(valuesOf('-m', machine), ['160M'])
})

test('qemuArgv: each drive is read at 200 MB and 5,000 operations a second, with as much for a burst', () => {
  const limits = valuesOf('-object', machine).filter((value) => value.startsWith('throttle-group'))
  const numbers = 'x-bps-total=200000000,x-bps-total-max=200000000,x-iops-total=5000,x-iops-total-max=5000'
  assert.deepEqual(limits, [`throttle-group,id=root-limit,${numbers}`, `throttle-group,id=code-limit,${numbers}`])
  const drives = valuesOf('-blockdev', machine).filter((value) => value.startsWith('driver=throttle'))
  assert.deepEqual(drives, [
    'driver=throttle,node-name=root-drive,throttle-group=root-limit,file=root,read-only=on',
    'driver=throttle,node-name=code-drive,throttle-group=code-limit,file=code,read-only=on',
  ])
})

test('qemuArgv: accelerator, processor and ACPI', () => {
  assert.deepEqual([...valuesOf('-accel', machine), ...valuesOf('-cpu', machine)], ['tcg', 'max'])
  const kvm: QemuMachine = { ...machine, accelerator: 'kvm', needsAcpi: true }
  assert.deepEqual([...valuesOf('-accel', kvm), ...valuesOf('-cpu', kvm)], ['kvm', 'host'])
  assert.match(valuesOf('-M', machine)[0] ?? '', /acpi=off/)
  assert.match(valuesOf('-M', kvm)[0] ?? '', /acpi=on/)
})

test('qemuArgv: a machine without a tap has no network interface', () => {
  const alone = { ...machine, fds: { ...fds, tap: null } }
  assert.deepEqual(valuesOf('-netdev', alone), [])
  assert.equal(qemuArgv(alone).join(' ').includes('virtio-net'), false)
})

test('kernelWords: what an emulated machine cannot find out, and nothing of it on KVM', () => {
  const base = { tscKhz: 2_600_000, needsAcpi: false }
  const tcg = kernelWords({ ...base, accelerator: 'tcg' })
  assert.ok(tcg.includes('tsc_early_khz=2600000') && tcg.includes('nolapic_timer'))
  // With ACPI there is no PIT: without the LAPIC's timer there would be none at all.
  assert.equal(kernelWords({ ...base, accelerator: 'tcg', needsAcpi: true }).includes('nolapic_timer'), false)
  assert.deepEqual(kernelWords({ ...base, accelerator: 'kvm' }), ['quiet', 'loglevel=0', 'panic=-1', 'reboot=t'])
})
