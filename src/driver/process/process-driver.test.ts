import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { driverContract } from '../../../test/contract/driver.contract.ts'
import { bootOne, nothingLeft, type DriverHarness } from '../../../test/contract/driver-contract-rig.ts'
import { driverHarness } from '../../../test/support/driver-harness.ts'
import { launcherMissing, startLauncher, unprivilegedMissing } from '../../../test/support/launcher.ts'
import { machineRuntimes, openProcessDriver } from '../../../test/support/process-rig.ts'
import { isolationFeatures, PlainDriver } from './plain-driver.ts'
import { shimFolder } from '../../../test/support/process-rig.ts'
import { chmod, chown, glob, mkdir, mkdtemp, readdir, rm, rmdir } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'

/** Sockets that wait for the next sandbox. */
const sparePair = 2

/** Who runs the contract without root: nobody's uid, below those of sandboxes. */
const plainUser = 1_799_999_999

if (process.getuid?.() === 0) {
  driverContract('process', async (): Promise<DriverHarness | string> => launcherMissing() ?? openSandboxed())
  const missing = unprivilegedMissing(plainUser)
  test('process driver without root: the contract holds', { skip: missing ?? false }, async (context) => {
    const home = await mkdtemp(path.join(os.tmpdir(), 'hearth-plain-user-'))
    await chown(home, plainUser, plainUser)
    // This very file, as somebody else. Without the parent's context it reports as if started by hand.
    const env: NodeJS.ProcessEnv = { ...process.env, HOME: home, TMPDIR: home }
    delete env['NODE_TEST_CONTEXT']
    const options = { uid: plainUser, gid: plainUser, cwd: home, env, encoding: 'utf8' } as const
    const { status, stdout } = spawnSync(process.execPath, ['--test-reporter=tap', import.meta.filename], options)
    await rm(home, { recursive: true, force: true })
    assert.equal(status, 0, stdout)
    assert.match(stdout, /^ *# enforced: .*seccomp/m)
    for (const [, line = ''] of stdout.matchAll(/^ *# ((?:not )?enforced: .*)$/gm)) context.diagnostic(line)
  })
} else {
  driverContract(
    'process without root',
    async (): Promise<DriverHarness | string> => unprivilegedMissing(process.getuid?.() ?? 0) ?? openSandboxed(),
  )
}

async function openSandboxed(): Promise<DriverHarness> {
  const launcher = await startLauncher()
  const { folder } = launcher
  await chmod(folder, 0o755)
  const driver = await openProcessDriver(launcher.channel, folder)
  const [build] = await machineRuntimes(folder)
  assert.ok(build)
  const sockets = async (): Promise<string[]> => readdir(path.join(folder, 'run'))
  return driverHarness({
    ...{ driver, build, folder },
    leftovers: async () => [
      // The launcher's own mount point stays.
      ...(await readdir(path.join(folder, 'instances'))).filter((name) => name !== '.work'),
      ...(await sockets()).slice(sparePair),
    ],
    async close() {
      await driver.close()
      assert.deepEqual(await sockets(), [])
      await launcher.close()
    },
  })
}

test('boot: a cgroup that cannot be made ends what was begun beside it, and the next boot works', async (context) => {
  const hierarchies = '/sys/fs/cgroup'
  const missing = launcherMissing() ?? (process.getuid?.() === 0 ? null : 'makes a folder in cgroups as root')
  if (missing !== null) return context.skip(missing)
  const harness = await openSandboxed()
  const first = await bootOne(harness, 'cgroup-1')
  // Of v2, the folder is there before anything is forked.
  const own = (await Array.fromAsync(glob(path.join(hierarchies, '*/hearth-*/cgroup-1')))).filter(
    (folder) => !/unified/.test(folder),
  )
  const [place] = own
  if (place === undefined) context.diagnostic('no cgroup v1 is used here')
  else {
    const taken = path.join(path.dirname(place), 'cgroup-2')
    await mkdir(taken)
    await assert.rejects(bootOne(harness, 'cgroup-2'), { code: 'driver_failed', message: /at step "cgroup\.\w+"/ })
    await rmdir(taken)
    const second = await bootOne(harness, 'cgroup-2')
    await second.sandbox.kill()
  }
  await first.sandbox.kill()
  await nothingLeft(harness)
  await harness.close()
})

driverContract('plain processes', async (): Promise<DriverHarness> => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-plain-'))
  const driver = new PlainDriver({ shimFolder })
  const [build] = await machineRuntimes(folder)
  assert.ok(build)
  await mkdir(path.join(folder, 'instances'))
  return driverHarness({
    ...{ driver, build, folder },
    leftovers: async () => readdir(path.join(folder, 'instances')),
    async close() {
      await driver.close()
      await rm(folder, { recursive: true, force: true })
    },
  })
})

test('PlainDriver lists as not enforced what the launcher lists as enforced', async (context) => {
  const missing = launcherMissing()
  if (missing !== null) return context.skip(missing)
  const harness = await openSandboxed()
  const { capabilities } = await harness.driver.probe()
  await harness.close()
  assert.deepEqual(
    capabilities.enforced.map(({ feature }) => feature),
    isolationFeatures,
  )
})
