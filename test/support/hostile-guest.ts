import { existsSync } from 'node:fs'
import { chmod, copyFile, cp, link, mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { silentLogger } from '../../src/domain/logger.ts'
import type { RuntimeBuild } from '../../src/domain/runtime.ts'
import { openImageStore } from '../../src/image/image-store.ts'
import { imageKey, imagePath, indexImage } from '../../src/image/runtime-index.ts'
import { runtimeCatalog } from '../../src/image/runtimes.ts'
import { compileShims } from '../../src/image/shim-bytecode.ts'
import { machineRuntimes, shimFolder } from './process-rig.ts'
import { imageCache } from './driver-rig.ts'

const guestProgram = path.resolve(import.meta.dirname, '../../guest/target/release/hearth-guest')
const machineCache = '/var/cache/hearth'

/** Fills `folder` as a machine's cache (`hearth up --cache`): Node's image as it is, and under the name of Python's one in which PID 1 is
 *  hostile-init.py. So everything outside the guest is the product's own. */
export async function makeHostileCache(folder: string): Promise<void> {
  const scratch = path.join(folder, 'scratch')
  const runtimes = path.join(folder, 'runtimes')
  await mkdir(scratch, { recursive: true })
  await mkdir(runtimes)
  await chmod(folder, 0o755)
  const builds = await machineRuntimes(scratch)
  await compileShims(builds, shimFolder)
  const shelf = [machineCache, imageCache].find((each) => existsSync(path.join(each, 'kernels/current')))
  if (shelf !== undefined) await cp(path.join(shelf, 'kernels'), path.join(folder, 'kernels'), { recursive: true })
  for (const family of ['node', 'python'] as const) {
    const build = runtimeCatalog(builds).resolve(family)
    const program = family === 'node' ? guestProgram : await writeHostileInit(scratch, build)
    const store = openImageStore({
      folder: imageCache,
      shared: [machineCache],
      codeFolder: path.join(scratch, 'code'),
      kernelFile: null,
      shimFolder,
      guestProgram: program,
      logger: silentLogger,
    })
    const image = await store.runtimeImage(build)
    await store.close()
    const target = imagePath(runtimes, image.digest)
    await link(image.path, target).catch(async () => copyFile(image.path, target))
    const { digest, bytes, runtime } = image
    indexImage(runtimes, await imageKey(build, { guestProgram, shimFolder }), {
      digest,
      bytes,
      runtime,
      builtAt: 1,
      skipped: [],
    })
  }
}

async function writeHostileInit(scratch: string, { executable }: RuntimeBuild): Promise<string> {
  const source = await readFile(path.join(import.meta.dirname, 'hostile-init.py'), 'utf8')
  const program = path.join(scratch, 'hostile-init')
  await writeFile(program, `#!${executable} -IS\n${source}`, { mode: 0o755 })
  return program
}
