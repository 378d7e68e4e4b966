import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { RuntimeBuild } from '../../src/domain/runtime.ts'
import type { DriverHarness } from '../contract/driver-contract-rig.ts'

export interface DriverHarnessParts extends Pick<DriverHarness, 'driver' | 'leftovers' | 'close'> {
  /** Node. */
  readonly build: RuntimeBuild
  /** Instances and code go below it. */
  readonly folder: string
  /** For drivers that take images. */
  readonly codeImageOf?: (codeFolder: string) => Promise<string>
}

const source = `
let calls = 0
exports.handler = async (event) => {
  if (event.throw) throw new Error(event.throw)
  if (event.exit) process.exit(event.exit)
  if (event.count) return ++calls
  if (event.hang) await new Promise((resolve) => setTimeout(resolve, 600_000))
  return event
}
`

/** What the driver contract asks for, over real interpreters: `breakBoot` makes the build one that exists nowhere, for one boot. */
export async function driverHarness(parts: DriverHarnessParts): Promise<DriverHarness> {
  const { build, folder, codeImageOf, ...rest } = parts
  const codeFolder = path.join(folder, 'code')
  await mkdir(codeFolder)
  await writeFile(path.join(codeFolder, 'index.js'), source)
  const codeImage = (await codeImageOf?.(codeFolder)) ?? null
  let isBroken = false
  return {
    ...rest,
    get build() {
      if (!isBroken) return build
      isBroken = false
      const nowhere = `sha256:${'0'.repeat(64)}` as const
      return { ...build, digest: nowhere, image: nowhere, executable: '/usr/bin/no-such-interpreter' } as const
    },
    folder: path.join(folder, 'instances'),
    codeFolder,
    codeImage,
    breakBoot: () => (isBroken = true),
  }
}
