import { spawn } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { silentLogger } from '../../src/domain/logger.ts'
import { openImageStore } from '../../src/image/image-store.ts'
import { imagePath } from '../../src/image/runtime-index.ts'
import { runtimeCatalog } from '../../src/image/runtimes.ts'
import { imageCache } from '../support/driver-rig.ts'
import { shelvedKernel, tscKhz, vmObstacle } from '../support/guest-vm.ts'
import { machineRuntimes, shimFolder } from '../support/process-rig.ts'
import { qemuProgram, vmMissing } from '../support/vm-rig.ts'
import { makeMachine } from './machine-image.ts'

/* `npm run nested`: tests that need KVM, on a machine without. QEMU emulates an AMD processor with SVM; Linux in it has a real /dev/kvm, and runs this repository's
 * tests of the drivers on it. With FIRECRACKER_BIN and JAILER_BIN also Firecracker's. Takes minutes: all is emulated but the idea. */

const timeoutMs = 45 * 60_000
const memoryMib = 3_072

const repository = path.resolve(import.meta.dirname, '../..')
const shelve = path.relative(repository, path.join(import.meta.dirname, 'shelve.ts'))
const files = ['test/nested/kvm.test.ts', 'test/nested/vsock.test.ts']
const { FIRECRACKER_BIN: firecracker, JAILER_BIN: jailer } = process.env
const hasFirecracker = firecracker !== undefined && jailer !== undefined

const obstacle = vmMissing() ?? vmObstacle(shelvedKernel())
if (obstacle !== null) throw new Error(`Cannot run: ${obstacle}`)
const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-nested-'))
try {
  process.exitCode = await run()
} finally {
  rmSync(folder, { recursive: true, force: true })
}

async function run(): Promise<number> {
  const startedMs = performance.now()
  const chosen = process.argv.slice(2)
  const wanted =
    chosen.length > 0 ? chosen : [...files, ...(hasFirecracker ? ['test/e2e/vm-firecracker-driver.test.ts'] : [])]
  const binaries = hasFirecracker ? `FIRECRACKER_BIN=${firecracker} JAILER_BIN=${jailer} ` : ''
  const args =
    '--test --test-reporter=spec --test-concurrency=1 --test-timeout=900000 --disable-warning=ExperimentalWarning'
  const catalog = runtimeCatalog(await machineRuntimes(folder))
  const [node, python] = [catalog.resolve('node'), catalog.resolve('python')]
  const shelf = await fillShelf(node)
  const machine = makeMachine(folder, {
    ...{ node, python, shelf },
    tests: `node ${shelve} /var/cache/hearth && ${binaries}node ${args} ${wanted.join(' ')}`,
    extra: hasFirecracker ? [firecracker, jailer] : [],
  })
  console.log(`machine made in ${((performance.now() - startedMs) / 1_000).toFixed(1)} s`)
  const ended = await boot(machine)
  console.log(`whole run: ${((performance.now() - startedMs) / 1_000).toFixed(0)} s`)
  return ended
}

/** Kernel and Node's image, for the VMs inside: nothing is fetched or built there. */
async function fillShelf(node: ReturnType<ReturnType<typeof runtimeCatalog>['resolve']>): Promise<string> {
  const guestProgram = path.join(repository, 'guest/target/release/hearth-guest')
  const options = { folder: imageCache, shared: ['/var/cache/hearth'], codeFolder: path.join(folder, 'code') }
  const store = openImageStore({ ...options, kernelFile: null, shimFolder, guestProgram, logger: silentLogger })
  const kernel = await store.kernel()
  const image = await store.runtimeImage(node)
  await store.close()
  const shelf = path.join(folder, 'shelf')
  const runtimes = path.join(shelf, 'runtimes')
  mkdirSync(runtimes, { recursive: true })
  cpSync(path.resolve(kernel.vmlinux, '../..'), path.join(shelf, 'kernels'), { recursive: true })
  cpSync(image.path, imagePath(runtimes, image.digest))
  const { digest, bytes, runtime } = image
  const facts = { digest, bytes, executable: runtime.executable, prefix: runtime.prefix }
  writeFileSync(path.join(shelf, 'runtime.json'), JSON.stringify(facts))
  return shelf
}

/** Shows what the machine writes; resolves with how its tests ended. */
function boot({ kernel, initramfs, root }: ReturnType<typeof makeMachine>): Promise<number> {
  const words = `console=ttyS0 quiet panic=-1 reboot=t tsc_early_khz=${tscKhz()} tsc=reliable no_timer_check root=/dev/vda ro`
  const machine = [
    ...['-M', 'microvm,acpi=on,x-option-roms=off', '-accel', 'tcg,thread=multi', '-cpu', 'max,+svm', '-smp', '2'],
    ...['-m', `${memoryMib}M`, '-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-serial', 'stdio'],
    ...['-kernel', kernel, '-initrd', initramfs, '-append', words],
    ...['-drive', `id=root,file=${root},format=raw,if=none,readonly=on`, '-device', 'virtio-blk-device,drive=root'],
    ...['-device', 'virtio-rng-device'],
  ]
  return new Promise((resolve) => {
    const child = spawn(qemuProgram, machine, { stdio: ['ignore', 'pipe', 'inherit'] })
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
    let code = 1
    let rest = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split(/\r*\n/)
      rest = lines.pop() ?? ''
      for (const line of lines) {
        console.log(line)
        const ended = /^nested: ended with (\d+)/.exec(line)
        if (ended !== null) code = Number(ended[1])
      }
    })
    child.once('exit', () => {
      clearTimeout(timer)
      resolve(code)
    })
  })
}
