import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { checkKernelConfig, kernelConfig } from './kernel-config.ts'

const source = mkdtempSync(path.join(os.tmpdir(), 'hearth-kconfig-'))
after(() => rmSync(source, { recursive: true, force: true }))
mkdirSync(path.join(source, 'fs/erofs'), { recursive: true })
writeFileSync(path.join(source, 'fs/erofs/Kconfig'), 'config EROFS_FS\n\ttristate "EROFS"\n\nmenuconfig MODULES\n')
writeFileSync(path.join(source, '.config'), 'CONFIG_64BIT=y\nCONFIG_MODULES=y\n# CONFIG_EROFS_FS is not set\n')

test('checkKernelConfig: a line that the kernel dropped is refused by name, one of another Linux is passed over', () => {
  checkKernelConfig('CONFIG_64BIT=y\n# CONFIG_SLOB is not set\nCONFIG_FROM_THE_FUTURE=y\n# a comment\n', source)
  assert.throws(() => checkKernelConfig('CONFIG_64BIT=y\nCONFIG_EROFS_FS=y\n', source), {
    code: 'driver_failed',
    message: 'Cannot configure the kernel: its own configuration dropped "CONFIG_EROFS_FS=y".',
  })
  assert.throws(() => checkKernelConfig('# CONFIG_MODULES is not set', source), /dropped "# CONFIG_MODULES is not set"/)
})

test('kernelConfig: both profiles have all that a VM needs, and no line that contradicts another', () => {
  const needed =
    'EROFS_FS VIRTIO_MMIO VIRTIO_MMIO_CMDLINE_DEVICES VIRTIO_BLK VIRTIO_NET VIRTIO_CONSOLE VIRTIO_BALLOON VSOCKETS VIRTIO_VSOCKETS HW_RANDOM_VIRTIO VMGENID MEMCG CGROUP_PIDS CGROUP_SCHED CGROUP_FREEZER TMPFS DEVTMPFS UNIX98_PTYS INET IPV6 PVH KVM_GUEST ACPI MAGIC_SYSRQ SECCOMP NAMESPACES'
  for (const profile of ['ci', 'prod'] as const) {
    const lines = kernelConfig(profile)
      .split('\n')
      .filter((line) => /CONFIG_/.test(line))
    for (const name of needed.split(' ')) assert.ok(lines.includes(`CONFIG_${name}=y`), name)
    const names = lines.map((line) => /CONFIG_(\w+)/.exec(line)?.[1])
    assert.equal(new Set(names).size, names.length)
  }
  assert.ok(kernelConfig('prod').includes('CONFIG_RETPOLINE=y'))
  assert.ok(kernelConfig('ci').includes('# CONFIG_CPU_MITIGATIONS is not set'))
})
