import assert from 'node:assert/strict'
import path from 'node:path'
import { writeContractCode, type DriverHarness } from '../contract/driver.contract.ts'
import { BreakableBuild } from './breakable-build.ts'
import type { DriverRig } from './driver-rig.ts'

/** What the driver contract needs of a rig, with its code as folder and as image. */
export async function vmHarness(rig: DriverRig): Promise<DriverHarness> {
  const node = rig.builds.find(({ family }) => family === 'node')
  assert.ok(node)
  const build = new BreakableBuild(node)
  const codeFolder = await writeContractCode(rig.folder)
  const { path: codeImage } = await rig.images.codeImage({ codeFolder, cacheFolder: null, layerFolders: [] }, 'test')
  return {
    driver: rig.driver,
    get build() {
      return build.take()
    },
    folder: path.join(rig.folder, 'instances'),
    codeFolder,
    codeImage,
    breakBoot: build.break,
    leftovers: () => rig.leftovers(),
    close: () => rig.close(),
  }
}
