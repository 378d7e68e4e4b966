import type { KernelBuild } from '../../domain/image.ts'
import { guestCommandLine } from '../vm/guest-command-line.ts'
import { driveLimits, portNames } from '../vm/vmm.ts'

/** Descriptors that the VMM inherits, by number. */
export interface Descriptors {
  /** Listening sockets. */
  readonly init: number
  readonly supervisor: number
  readonly runtime: number
  readonly qmp: number
  /** Images, opened for reading. */
  readonly root: number
  readonly code: number
  readonly kernel: number | null
  readonly initramfs: number | null
  /** Where device state is written to or read from; null for a machine that is never saved. */
  readonly state: number | null
  readonly memory: number | null
  readonly tap: number | null
}

export interface QemuMachine {
  readonly accelerator: 'kvm' | 'tcg'
  /** kHz of the host's time stamp counter, which TCG hands through. */
  readonly tscKhz: number
  readonly memoryMib: number
  readonly fds: Descriptors
  /** Cold boot; null for one that waits for a saved state. */
  readonly boot: { readonly kernel: KernelBuild; readonly epoch: string } | null
  /** `shared`: memory goes to the file, to be a snapshot; `private`: pages are copied when written. */
  readonly memory: 'shared' | 'private' | 'anonymous'
  /** Devices depend on it, so a clone is given the kernel's need of the machine it was saved from. */
  readonly needsAcpi: boolean
}

/** QEMU's argument list for `machine`. All names of files are descriptors, so the process needs to see nothing of the host. Source of each option: measured on
 *  QEMU 7.2 `-M microvm`: rtc stays on (off costs 1.1 s), no option ROMs, `-cpu max` under TCG (without RDRAND Node waits 2.6 s for randomness). */
export function qemuArgv(machine: QemuMachine): string[] {
  const { accelerator, memoryMib, fds } = machine
  return [
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...['-M', `microvm,acpi=${machine.needsAcpi ? 'on' : 'off'},x-option-roms=off,isa-serial=off,memory-backend=ram0`],
    ...['-accel', accelerator, '-cpu', accelerator === 'kvm' ? 'host' : 'max', '-smp', '1', '-m', `${memoryMib}M`],
    ...['-object', memoryObject(machine)],
    ...bootOptions(machine),
    ...portOptions(fds),
    ...['-chardev', `socket,id=qmp,fd=${fds.qmp},server=on,wait=off`, '-mon', 'chardev=qmp,mode=control'],
    ...driveOptions('root', fds.root),
    ...driveOptions('code', fds.code),
    ...['-device', 'virtio-rng-device'],
    ...networkOptions(fds.tap),
  ]
}

function memoryObject({ memory, memoryMib, fds }: QemuMachine): string {
  if (memory === 'anonymous' || fds.memory === null) return `memory-backend-ram,id=ram0,size=${memoryMib}M`
  const share = memory === 'shared' ? 'on' : 'off'
  return `memory-backend-file,id=ram0,size=${memoryMib}M,mem-path=/proc/self/fd/${fds.memory},share=${share}`
}

function bootOptions({ boot, fds, accelerator, tscKhz }: QemuMachine): string[] {
  if (boot === null || fds.kernel === null) return ['-incoming', 'defer']
  const initramfs = fds.initramfs === null ? [] : ['-initrd', `/proc/self/fd/${fds.initramfs}`]
  const words = kernelWords({ accelerator, tscKhz, needsAcpi: boot.kernel.needsAcpi })
  return ['-kernel', `/proc/self/fd/${fds.kernel}`, ...initramfs, '-append', guestCommandLine(words, boot.epoch)]
}

/** What the kernel is told of the machine. Under TCG the time stamp counter is the host's and cannot be calibrated in a busy guest;
 *  the LAPIC timer's calibration costs 240 ms and is needed only where there is no PIT, which is with ACPI. */
export function kernelWords({
  accelerator,
  tscKhz,
  needsAcpi,
}: {
  accelerator: 'kvm' | 'tcg'
  tscKhz: number
  needsAcpi: boolean
}): string[] {
  const common = ['quiet', 'loglevel=0', 'panic=-1', 'reboot=t']
  if (accelerator === 'kvm') return common
  const timer = needsAcpi ? [] : ['nolapic_timer']
  return [...common, `tsc_early_khz=${tscKhz}`, 'tsc=reliable', 'no_timer_check', ...timer]
}

function portOptions(fds: Descriptors): string[] {
  const ports = portNames.flatMap((name) => [
    ...['-chardev', `socket,id=${name},fd=${fds[name]},server=on,wait=off`],
    ...['-device', `virtserialport,chardev=${name},name=hearth.${name}`],
  ])
  return ['-device', 'virtio-serial-device,max_ports=4', ...ports]
}

/** A raw drive over a descriptor, below its limit. `blockdev-reopen` can put another file under the raw node, the one called `name`, while nobody has it mounted: `code` gets its image so. */
function driveOptions(name: string, fd: number): string[] {
  const { bytesPerSecond: bytes, operationsPerSecond: operations } = driveLimits
  // Without a maximum there are bursts of 100 ms only; with it of a second's worth.
  const limits = `x-bps-total=${bytes},x-bps-total-max=${bytes},x-iops-total=${operations},x-iops-total-max=${operations}`
  return [
    ...['-object', `throttle-group,id=${name}-limit,${limits}`],
    ...['-add-fd', `fd=${fd},set=${fd}`],
    ...['-blockdev', `driver=file,node-name=${name}-0,filename=/dev/fdset/${fd},read-only=on,locking=off`],
    ...['-blockdev', `driver=raw,node-name=${name},file=${name}-0,read-only=on`],
    ...['-blockdev', `driver=throttle,node-name=${name}-drive,throttle-group=${name}-limit,file=${name},read-only=on`],
    ...['-device', `virtio-blk-device,drive=${name}-drive`],
  ]
}

function networkOptions(tap: number | null): string[] {
  if (tap === null) return []
  return [
    ...['-netdev', `tap,id=net0,fd=${tap}`],
    // All clones have this address: each is alone in its network.
    ...['-device', 'virtio-net-device,netdev=net0,mac=02:48:54:48:00:01'],
  ]
}
