import assert from 'node:assert/strict'
import type { DriverHarness } from '../contract/driver.contract.ts'
import { driverHarness } from './driver-harness.ts'
import type { DriverRig } from './driver-rig.ts'

/** What the driver contract asks for, of a rig for microVMs. */
export async function vmHarness(rig: DriverRig): Promise<DriverHarness> {
  const build = rig.builds.find(({ family }) => family === 'node')
  assert.ok(build)
  return driverHarness({
    driver: rig.driver,
    build,
    folder: rig.folder,
    codeImageOf: async (codeFolder) =>
      (await rig.images.codeImage({ codeFolder, cacheFolder: null, layerFolders: [] }, 'test')).path,
    leftovers: () => rig.leftovers(),
    close: () => rig.close(),
  })
}
