import assert from 'node:assert/strict'
import type { DriverHarness } from '../contract/driver-contract-rig.ts'
import type { Succession } from '../contract/driver-recover.contract.ts'
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

/** The same for rigs that follow one another on the same folders. */
export async function vmSuccession(first: DriverRig): Promise<Succession> {
  let rig = first
  const harness = await vmHarness(first)
  return {
    harness: {
      ...harness,
      get driver() {
        return rig.driver
      },
      get build() {
        return harness.build
      },
      leftovers: () => rig.leftovers(),
      close: () => rig.close(),
    },
    async crash() {
      rig = await rig.crash()
    },
    sweep: () => rig.sweep(),
  }
}
