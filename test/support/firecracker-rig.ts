import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { silentLogger } from '../../src/domain/logger.ts'
import type { ImageStore } from '../../src/domain/image.ts'
import type { RuntimeBuild } from '../../src/domain/runtime.ts'
import { FirecrackerVmm } from '../../src/driver/firecracker/firecracker-vmm.ts'
import { firecrackerVersion } from '../../src/driver/firecracker/version.ts'
import { LauncherClient } from '../../src/driver/launcher-client.ts'
import { UidRange } from '../../src/driver/uid-range.ts'
import { VmDriver } from '../../src/driver/vm/vm-driver.ts'
import { VmHost } from '../../src/driver/vm/vm-host.ts'
import { openImageStore } from '../../src/image/image-store.ts'
import { startLauncher } from './launcher.ts'
import { firecrackerProgram as program, hasRealFirecracker, jailerProgram as jailer } from './platform.ts'
import { machineRuntimes, shimFolder } from './process-rig.ts'
import { imageCache, vmMissing } from './vm-rig.ts'

const root = path.resolve(import.meta.dirname, '../..')

/** Why the Firecracker driver cannot be tried here; null when it can. */
export function firecrackerMissing(): string | null {
  const missing = vmMissing()
  if (missing !== null) return missing
  return existsSync('/dev/net/tun') ? null : '/dev/net/tun is not here'
}

export interface FirecrackerRig {
  readonly driver: VmDriver
  readonly images: ImageStore
  readonly builds: readonly RuntimeBuild[]
  /** Scratch. */
  readonly folder: string
  /** What is left of machines: run folders, jails, processes. */
  leftovers(): Promise<string[]>
  close(): Promise<void>
}

/** A Firecracker driver over a launcher of its own. */
export async function openFirecrackerRig(): Promise<FirecrackerRig> {
  const scratch = await mkdtemp(path.join(os.tmpdir(), 'hf-'))
  const builds = await machineRuntimes(scratch)
  const runFolder = path.join(scratch, 'vm')
  await mkdir(runFolder, { mode: 0o700 })
  await mkdir(imageCache, { recursive: true })
  const logger = silentLogger
  const launcher = await startLauncher(
    ['--keep', scratch, '--keep', imageCache].concat(['--vmm', program, '--vmm', jailer]),
  )
  const client = new LauncherClient(launcher.channel, logger)
  const images = openImageStore({
    folder: imageCache,
    shared: ['/var/cache/hearth'],
    codeFolder: path.join(scratch, 'code-images'),
    kernelFile: null,
    shimFolder,
    guestProgram: path.join(root, 'guest/target/release/hearth-guest'),
    logger,
  })
  const uids = new UidRange({ first: 1_820_000_000, count: 1_000 })
  const host = new VmHost({ launcher: client, uids, runFolder, resolverPort: null, bytesPerSecond: 125_000_000 })
  const version = await firecrackerVersion(program)
  const vmm = new FirecrackerVmm({ host, program, jailer, version, accelerator: hasRealFirecracker ? 'kvm' : 'tcg' })
  const driver = new VmDriver({ vmm, images, logger, enforced: [], probeBuild: () => builds[0] ?? null })
  return {
    ...{ driver, images, builds, folder: scratch },
    async leftovers() {
      const jails = path.join(launcher.folder, 'jails')
      return [...(await readdir(runFolder)), ...(existsSync(jails) ? await readdir(jails) : [])]
    },
    async close() {
      await driver.close()
      client.close()
      await launcher.close()
      await images.close()
      await rm(scratch, { recursive: true, force: true })
    },
  }
}
