import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import type { ImageStore } from '../../src/domain/image.ts'
import { silentLogger, type Logger } from '../../src/domain/logger.ts'
import type { RuntimeBuild } from '../../src/domain/runtime.ts'
import { LauncherClient } from '../../src/driver/launcher-client.ts'
import { qemuFacts } from '../../src/driver/qemu/find-qemu.ts'
import { QemuVmm } from '../../src/driver/qemu/qemu-vmm.ts'
import { UidRange } from '../../src/driver/uid-range.ts'
import { VmDriver } from '../../src/driver/vm/vm-driver.ts'
import { VmHost } from '../../src/driver/vm/vm-host.ts'
import { openImageStore } from '../../src/image/image-store.ts'
import { launcherMissing, startLauncher, type TestLauncher } from './launcher.ts'
import { machineRuntimes, shimFolder } from './process-rig.ts'

const root = path.resolve(import.meta.dirname, '../..')
export const qemuProgram = '/usr/bin/qemu-system-x86_64'
/** Kernels and images by digest, shared by all tests and found again by the next run. */
export const imageCache = path.join(root, 'build/vm')

/** Why no microVM can be started here; null when one can. */
export function vmMissing(): string | null {
  const missing = launcherMissing()
  if (missing !== null) return missing
  return existsSync(qemuProgram) ? null : `${qemuProgram} is not installed`
}

/** A QEMU driver over a launcher of its own. */
export interface VmRig {
  readonly driver: VmDriver
  readonly vmm: QemuVmm
  readonly images: ImageStore
  readonly launcher: TestLauncher
  readonly builds: readonly RuntimeBuild[]
  /** Scratch; below `--keep`. */
  readonly folder: string
  /** What is left of machines: run folders and launcher's files. */
  leftovers(): Promise<string[]>
  close(): Promise<void>
}

export async function openVmRig({ logger = silentLogger }: { logger?: Logger } = {}): Promise<VmRig> {
  const scratch = await mkdtemp(path.join(os.tmpdir(), 'hv-'))
  const builds = await machineRuntimes(scratch)
  await mkdir(imageCache, { recursive: true })
  const launcher = await startLauncher(['--keep', scratch, '--keep', imageCache, '--vmm', qemuProgram])
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
  const runFolder = path.join(scratch, 'vm')
  await mkdir(runFolder, { mode: 0o700 })
  const uids = new UidRange({ first: 1_810_000_000, count: 1_000 })
  const host = new VmHost({ launcher: client, uids, runFolder, resolverPort: null, bytesPerSecond: 125_000_000 })
  const facts = await qemuFacts(qemuProgram)
  const vmm = new QemuVmm({ host, program: qemuProgram, ...facts, accelerators: ['tcg'] })
  const driver = new VmDriver({ vmm, images, logger, enforced: [], probeBuild: () => builds[0] ?? null })
  return {
    ...{ driver, vmm, images, launcher, builds, folder: scratch },
    leftovers: async () => readdir(runFolder),
    async close() {
      await driver.close()
      client.close()
      await launcher.close()
      await images.close()
      await rm(scratch, { recursive: true, force: true })
    },
  }
}
