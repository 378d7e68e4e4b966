import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import type { ImageStore, KernelBuild, RuntimeImage } from '../../src/domain/image.ts'
import type { RuntimeFamily } from '../../src/domain/runtime.ts'
import { silentLogger } from '../../src/domain/logger.ts'
import { openImageStore } from '../../src/image/image-store.ts'
import { runtimeCatalog } from '../../src/image/runtimes.ts'
import { machineRuntimes, shimFolder } from '../support/process-rig.ts'

/* Root and code images in a real kernel, without the guest's own init: whether a Linux reads what was written, and whether the interpreters run there. */

const root = path.resolve(import.meta.dirname, '../..')
const scratch = mkdtempSync(path.join(os.tmpdir(), 'hearth-boot-'))
const cache = process.getuid?.() === 0 ? '/var/cache/hearth' : path.join(os.homedir(), '.cache/hearth')
let store: ImageStore

before(() => {
  store = openImageStore({
    folder: path.join(scratch, 'images'),
    shared: [cache],
    codeFolder: path.join(scratch, 'code'),
    kernelFile: null,
    shimFolder,
    guestProgram: path.join(root, 'guest/target/release/hearth-guest'),
    logger: silentLogger,
  })
})
after(async () => {
  await store.close()
  rmSync(scratch, { recursive: true, force: true })
})

const qemu = '/usr/bin/qemu-system-x86_64'
const bootMsMax = 120_000

/** An own kernel needs no initramfs: it starts any program of the image. */
async function kernelOrReason(): Promise<KernelBuild | string> {
  if (!existsSync(qemu)) return 'needs QEMU (package qemu-system-x86)'
  if (!existsSync(path.join(cache, 'kernels/current'))) return 'needs a kernel: hearth kernel build --profile ci'
  const kernel = await store.kernel()
  return kernel.initramfs === null ? kernel : 'needs a kernel without modules: hearth kernel build --profile ci'
}

/** What `script` printed, run by the image's shell as PID 1 of an emulated machine. */
async function inMachine(kernel: KernelBuild, drives: readonly string[], script: string): Promise<string> {
  // Each drive takes the last free one of the machine's eight places.
  const places = drives.map((_, n) => `virtio_mmio.device=512@0x${(0xfeb00e00 - n * 512).toString(16)}:${12 - n}`)
  const timer = kernel.needsAcpi ? '' : 'no_timer_check nolapic_timer'
  const machine = `microvm,acpi=${kernel.needsAcpi ? 'on' : 'off'},x-option-roms=off,auto-kernel-cmdline=off`
  const words = `console=ttyS0 quiet loglevel=0 panic=-1 reboot=t ${timer} ${places.join(' ')} root=/dev/vda rootfstype=erofs ro init=/bin/sh -- -c`
  const { stdout } = await promisify(execFile)(
    qemu,
    [
      ...['-M', machine, '-accel', 'tcg', '-cpu', 'max', '-m', '512', '-nodefaults', '-no-user-config', '-no-reboot'],
      ...['-display', 'none', '-serial', 'stdio', '-kernel', kernel.vmlinux],
      ...drives.flatMap((file, n) => [
        ...['-drive', `id=d${n},file=${file},format=raw,if=none,readonly=on`],
        ...['-device', `virtio-blk-device,drive=d${n}`],
      ]),
      ...['-append', `${words} "${script}"`],
    ],
    { timeout: bootMsMax },
  )
  return stdout.replaceAll('\r', '')
}

async function imageOf(family: RuntimeFamily): Promise<RuntimeImage> {
  return store.runtimeImage(runtimeCatalog(await machineRuntimes(scratch)).resolve(family))
}

test('a Node image boots and runs its interpreter and its shell', async (t) => {
  const kernel = await kernelOrReason()
  if (typeof kernel === 'string') return t.skip(kernel)
  const image = await imageOf('node')
  const program = '[process.version, process.arch, os.userInfo().username, tls.rootCertificates.length > 50].join()'
  const script = `${image.runtime.executable} -p '${program}'; echo shell $(id -u) $(uname -r) | sed s/shell/sed/`
  const output = await inMachine(kernel, [image.path], script)
  assert.match(output, new RegExp(`^v${image.runtime.version},x64,root,true$`, 'm'))
  assert.match(output, new RegExp(`^sed 0 ${kernel.release}$`, 'm'))
})

test('a Python image boots, runs from its bytecode, finds TLS, certificates and time zones, and mounts a code image', async (t) => {
  const kernel = await kernelOrReason()
  if (typeof kernel === 'string') return t.skip(kernel)
  const image = await imageOf('python')
  const [task, layer] = [path.join(scratch, 'task'), path.join(scratch, 'layer')]
  for (const folder of [path.join(task, 'deep'), layer]) mkdirSync(folder, { recursive: true })
  const numbers = Array.from({ length: 20_000 }, (_, n) => `${n}\n`).join('')
  writeFileSync(path.join(task, 'deep/numbers'), numbers)
  writeFileSync(path.join(layer, 'inside'), 'layer')
  const code = await store.codeImage({ codeFolder: task, cacheFolder: null, layerFolders: [layer] }, 'test')
  const looks =
    'import ssl,sqlite3,ctypes,lzma,asyncio,zoneinfo,json;print(len(ssl.create_default_context().get_ca_certs())>50,len(zoneinfo.available_timezones())>300,json.__cached__)'
  const mounts =
    'import sys,os,ctypes,hashlib;d,m,f=[os.fsencode(a) for a in sys.argv[1:]];print(ctypes.CDLL(None).mount(d,m,f,1,None),*sorted(os.listdir(sys.argv[2])))'
  const python = `${image.runtime.executable} -I -S -c`
  const sum = 'sha256sum /mnt/task/deep/numbers; cat /mnt/opt/inside'
  const script = `${python} '${looks}'; ${python} '${mounts}' /dev/vdb /mnt erofs; ${sum}`
  const output = await inMachine(kernel, [image.path, code.path], script)
  assert.match(output, /^True True \/.*\/json\/__pycache__\/__init__\.cpython-3\d+\.pyc$/m)
  assert.match(output, /^0 cache opt task$/m)
  assert.match(output, /^layer/m)
  assert.match(output, new RegExp(`^${createHash('sha256').update(numbers).digest('hex')} `, 'm'))
})
