import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { bundleName, interpreterFlags, runtimeFamilies, type RuntimeBuild } from '../domain/runtime.ts'

const compileMsMax = 30_000

/** What a bundle program writes last. */
const lastFile = { node: '.cache', python: '' } as const

/** Bundles the shim of each build that has no bundle yet, and removes those of builds that are gone: in a sandbox the folder is read-only, and
 *  a boot from separate files takes 4 ms more. Bundles are named by their build, so that a changed source is never run from old bytecode.
 *  A folder that cannot be written costs only time. */
export async function compileShims(builds: readonly RuntimeBuild[], shimFolder: string): Promise<void> {
  for (const build of builds) {
    const { family } = build
    if (family === 'provided') continue
    const folder = path.join(shimFolder, family)
    const name = bundleName(build)
    if (existsSync(path.join(folder, '.bundle', `${name}${lastFile[family]}`))) continue
    const program = path.join(folder, build.family === 'node' ? 'bundle.cjs' : 'bundle.py')
    const args = [...interpreterFlags(build), program, name]
    await promisify(execFile)(build.executable, args, { timeout: compileMsMax }).catch(() => {})
  }
  const names = builds.map(bundleName)
  for (const family of runtimeFamilies) await removeOthers(path.join(shimFolder, family, '.bundle'), names)
}

async function removeOthers(folder: string, names: readonly string[]): Promise<void> {
  const files = await readdir(folder).catch(() => [])
  // A bundle's name is 16 hexadecimal digits; others are being made, or belong to tests.
  const gone = files.filter((file) => /^[0-9a-f]{16}(\.|$)/.test(file) && !names.includes(file.slice(0, 16)))
  for (const file of gone) await rm(path.join(folder, file), { force: true }).catch(() => {})
}
