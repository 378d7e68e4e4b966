import assert from 'node:assert/strict'
import { driverContract, type DriverHarness } from '../../../test/contract/driver.contract.ts'
import { launcherMissing, startLauncher } from '../../../test/support/launcher.ts'
import { machineRuntimes, openProcessDriver } from '../../../test/support/process-rig.ts'
import { PlainDriver } from './plain-driver.ts'
import { shimFolder } from '../../../test/support/process-rig.ts'
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'

const source = `
exports.handler = async (event) => {
  if (event.throw) throw new Error(event.throw)
  if (event.exit) process.exit(event.exit)
  return event
}
`

async function writeCode(folder: string): Promise<string> {
  const codeFolder = path.join(folder, 'code')
  await mkdir(codeFolder, { recursive: true })
  await writeFile(path.join(codeFolder, 'index.js'), source)
  return codeFolder
}

driverContract('process', async (): Promise<DriverHarness | string> => {
  const missing = launcherMissing()
  if (missing !== null) return missing
  const launcher = await startLauncher()
  const { folder } = launcher
  await chmod(folder, 0o755)
  const driver = await openProcessDriver(launcher.channel, folder)
  const [build] = await machineRuntimes(folder)
  assert.ok(build)
  const runtime = { ...build }
  let isBroken = false
  return {
    driver,
    get build() {
      if (!isBroken) return runtime
      isBroken = false
      return { ...runtime, executable: '/usr/bin/no-such-interpreter' }
    },
    folder: path.join(folder, 'instances'),
    codeFolder: await writeCode(folder),
    codeImage: null,
    breakBoot: () => (isBroken = true),
    leftovers: async () => [
      // The launcher's own mount point stays.
      ...(await readdir(path.join(folder, 'instances'))).filter((name) => name !== '.work'),
      ...(await readdir(path.join(folder, 'run'))),
    ],
    async close() {
      await driver.close()
      await launcher.close()
    },
  }
})

driverContract('plain processes', async (): Promise<DriverHarness> => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-plain-'))
  const driver = new PlainDriver({ shimFolder })
  const [build] = await machineRuntimes(folder)
  assert.ok(build)
  await mkdir(path.join(folder, 'instances'))
  let isBroken = false
  return {
    driver,
    get build() {
      if (!isBroken) return build
      isBroken = false
      return { ...build, executable: '/usr/bin/no-such-interpreter' }
    },
    folder: path.join(folder, 'instances'),
    codeFolder: await writeCode(folder),
    codeImage: null,
    breakBoot: () => (isBroken = true),
    leftovers: async () => readdir(path.join(folder, 'instances')),
    async close() {
      await driver.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
})
