import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { driverContract, type DriverHarness } from '../contract/driver.contract.ts'
import { openVmRig, vmMissing } from '../support/vm-rig.ts'

const source = `exports.handler = async (event) => {
  if (event.throw) throw new Error(event.throw)
  if (event.exit) process.exit(event.exit)
  return event
}
`

driverContract('qemu', async (): Promise<DriverHarness | string> => {
  const missing = vmMissing()
  if (missing !== null) return missing
  const rig = await openVmRig()
  const build = rig.builds.find(({ family }) => family === 'node')
  assert.ok(build)
  const codeFolder = path.join(rig.folder, 'code')
  await mkdir(codeFolder)
  await writeFile(path.join(codeFolder, 'index.js'), source)
  const { path: codeImage } = await rig.images.codeImage({ codeFolder, cacheFolder: null, layerFolders: [] })
  let isBroken = false
  return {
    driver: rig.driver,
    get build() {
      if (!isBroken) return build
      isBroken = false
      return { ...build, digest: `sha256:${'0'.repeat(64)}`, executable: '/usr/bin/no-such-interpreter' } as const
    },
    folder: path.join(rig.folder, 'instances'),
    codeFolder,
    codeImage,
    breakBoot: () => (isBroken = true),
    leftovers: () => rig.leftovers(),
    close: () => rig.close(),
  }
})
