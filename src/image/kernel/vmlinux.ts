import { invalid } from '../../domain/error.ts'
import { elfBytes, elfMachines, readElf } from '../elf.ts'

export interface VmlinuxFacts {
  /** As `uname -r` says it. */
  readonly release: string
  /** It takes devices from ACPI alone. */
  readonly needsAcpi: boolean
  /** virtio-mmio and erofs are built in: no initramfs is needed. */
  readonly isSelfContained: boolean
}

/** XEN_ELFNOTE_PHYS32_ENTRY: where a PVH boot enters. Source: Linux include/xen/interface/elfnote.h */
const pvhNote = { name: 'Xen', type: 18 }

/** What the kernel in `bytes` is. Throws invalid, quoting `file`, when a microVM cannot start it. */
export function readVmlinux(bytes: Buffer, file: string): VmlinuxFacts {
  const refuse = (why: string): Error =>
    invalid('kernel', file, 'an uncompressed kernel (vmlinux)', `Cannot use "${file}" as a kernel: ${why}.`)
  const wholeBytes = elfBytes(bytes) ?? 0
  // A copy that broke off may have all that is asked for below, and would be found out by a guest that does not start.
  if (wholeBytes > bytes.length) throw refuse(`it is cut off: ${bytes.length} of its ${wholeBytes} bytes are there`)
  const elf = readElf(bytes)
  if (elf === null) throw refuse('it is no 64-bit ELF file; a bzImage or vmlinuz must be unpacked to its vmlinux first')
  if (elf.machine !== elfMachines.x64) throw refuse('it is for another processor')
  if (!elf.notes.some(({ name, type }) => name === pvhNote.name && type === pvhNote.type))
    throw refuse('it has no PVH entry; build it with CONFIG_PVH=y')
  const release = /Linux version (\S+) \(/.exec(textAround(bytes, 'Linux version '))?.[1]
  if (release === undefined) throw refuse('it does not say which Linux it is')
  return {
    release,
    needsAcpi: !bytes.includes('virtio-mmio-cmdline'),
    isSelfContained: bytes.includes('virtio-mmio\0') && bytes.includes('erofs\0'),
  }
}

function textAround(bytes: Buffer, text: string): string {
  // The banner is also a format string ("Linux version %s"): the one with digits counts.
  for (let at = bytes.indexOf(text); at !== -1; at = bytes.indexOf(text, at + 1)) {
    const found = bytes.toString('latin1', at, at + 200)
    if (/^Linux version \d/.test(found)) return found
  }
  return ''
}
