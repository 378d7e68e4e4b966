import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import type { ImageStore } from '../../src/domain/image.ts'
import { silentLogger, type Logger } from '../../src/domain/logger.ts'
import type { RuntimeBuild } from '../../src/domain/runtime.ts'
import { LauncherClient } from '../../src/driver/launcher-client.ts'
import { UidRange } from '../../src/driver/uid-range.ts'
import { VmDriver } from '../../src/driver/vm/vm-driver.ts'
import { VmHost } from '../../src/driver/vm/vm-host.ts'
import type { Vmm } from '../../src/driver/vm/vmm.ts'
import { openImageStore } from '../../src/image/image-store.ts'
import { startLauncher, type TestLauncher } from './launcher.ts'
import { machineRuntimes, shimFolder } from './process-rig.ts'

const root = path.resolve(import.meta.dirname, '../..')
/** Kernels and images by digest, shared by all tests and found again by the next run. */
export const imageCache = path.join(root, 'build/vm')

/** A driver of microVMs over a launcher of its own. */
export interface DriverRig<V extends Vmm = Vmm> {
  readonly driver: VmDriver
  readonly vmm: V
  readonly images: ImageStore
  readonly launcher: TestLauncher
  readonly builds: readonly RuntimeBuild[]
  /** Scratch; below `--keep`. */
  readonly folder: string
  /** What is left of machines: run folders, launcher's files, jails. */
  leftovers(): Promise<string[]>
  /** Ends machines of the rig before this one that were not taken over. */
  sweep(): Promise<readonly string[]>
  /** kill -9 of what stands for the platform, and the rig of its next start: to be closed instead of this. */
  crash(): Promise<DriverRig<V>>
  close(): Promise<void>
}

export interface DriverRigOptions<V extends Vmm> {
  /** Of the scratch folder's name. */
  readonly prefix: string
  /** What the launcher may start as a VMM. */
  readonly programs: readonly string[]
  /** 1,000 from here on, for machines. */
  readonly firstUid: number
  readonly makeVmm: (host: VmHost) => Promise<V>
  readonly logger?: Logger
}

export async function openDriverRig<V extends Vmm>(options: DriverRigOptions<V>): Promise<DriverRig<V>> {
  return openOn(options, await mkdtemp(path.join(os.tmpdir(), options.prefix)))
}

/** Between the scratch folder and what lies in a data folder: no address of a socket has room for it, so that none depends on where that is. */
const deep = 'as-deep-as-the-data-folders-of-many-people-lie/where-no-address-of-a-socket-has-room-for-all-of-it'

async function openOn<V extends Vmm>(options: DriverRigOptions<V>, scratch: string): Promise<DriverRig<V>> {
  const { logger = silentLogger } = options
  const builds = await machineRuntimes(scratch)
  const runFolder = path.join(scratch, deep, 'vm')
  await mkdir(runFolder, { mode: 0o700, recursive: true })
  await mkdir(imageCache, { recursive: true })
  const programs = options.programs.flatMap((program) => ['--vmm', program])
  const state = path.join(scratch, deep, 'state')
  const launcher = await startLauncher(['--keep', scratch, '--keep', imageCache, ...programs], state)
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
  const uids = new UidRange({ first: options.firstUid, count: 1_000 })
  const host = new VmHost({ launcher: client, uids, runFolder, resolverPort: null, bytesPerSecond: 125_000_000 })
  await host.survey()
  const vmm = await options.makeVmm(host)
  // The one machine with KVM that tests count on is emulated itself.
  const trialMsMax = { kvm: 120_000 }
  const own = { vmm, images, instancesFolder: path.join(scratch, 'probes') }
  const driver = new VmDriver({ ...own, logger, enforced: [], probeBuild: () => builds[0] ?? null, trialMsMax })
  return {
    ...{ driver, vmm, images, launcher, builds, folder: scratch },
    async leftovers() {
      const folders = [path.join(launcher.folder, 'jails'), path.join(scratch, 'probes')].filter(existsSync)
      return (await Promise.all([runFolder, ...folders].map((folder) => readdir(folder)))).flat()
    },
    sweep: () => host.sweep(),
    async crash() {
      await launcher.crash()
      client.close()
      await images.close()
      return openOn(options, scratch)
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
