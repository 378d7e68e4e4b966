import { constants } from 'node:fs'
import { access, mkdir, mkdtemp, readFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { findServer } from '../cli/server.ts'
import type { Context } from '../cli/context.ts'
import type { Toolchain } from '../domain/build.ts'
import { AppError } from '../domain/error.ts'
import type { RuntimeBuild, RuntimeCatalog } from '../domain/runtime.ts'
import { compileShims } from '../image/shim-bytecode.ts'
import { runtimeCandidates } from '../image/runtime-candidates.ts'
import { installRuntime } from '../image/runtime-install.ts'
import { discoverRuntimes, runtimeCatalog } from '../image/runtimes.ts'
import { appRoot } from './app.ts'

/** The shims: what turns an interpreter into a runtime. */
export const shimFolder = path.join(appRoot, 'runtimes')

/** Where `hearth runtime install` puts builds. Not in the data folder: root runs what it finds here, so only the application's owner may write it. */
const installedFolder = path.join(appRoot, 'build/runtimes')

/** Every interpreter of this machine that functions can run on. Run as root it also sees those in root's home.
 *  What earlier runs found out is kept in `cacheFile`: a start runs only interpreters that are new to it. */
export async function findRuntimes(
  env: Readonly<Record<string, string | undefined>>,
  cacheFile?: string,
): Promise<readonly RuntimeBuild[]> {
  const candidates = await runtimeCandidates({
    path: (env['PATH'] ?? '').split(path.delimiter).filter((folder) => path.isAbsolute(folder)),
    home: env['HOME'] ?? os.homedir(),
    installedFolder,
    bundled: [{ path: process.execPath, family: 'node' }],
  })
  const builds = await discoverRuntimes({ candidates, shimFolder, cacheFile: cacheFile ?? (await ownCacheFile()) })
  await compileShims(builds, shimFolder)
  return builds
}

/** Beside the program; for one that belongs to somebody else, among the caller's own caches. Never in a folder that others write to. */
async function ownCacheFile(): Promise<string> {
  for (const folder of [path.join(appRoot, 'build'), path.join(os.homedir(), '.cache/hearth')]) {
    try {
      await mkdir(folder, { recursive: true })
      await access(folder, constants.W_OK)
      return path.join(folder, 'runtimes-found.json')
    } catch {
      // Not ours to write: the next one.
    }
  }
  return path.join(await mkdtemp(path.join(os.tmpdir(), 'hearth-runtimes-')), 'found.json')
}

/** A catalog that takes up what `hearth runtime install` adds while the platform runs. */
export interface LiveCatalog extends RuntimeCatalog {
  refresh(): Promise<void>
}

export function liveCatalog(
  builds: readonly RuntimeBuild[],
  { toolchains, cacheFile }: { toolchains: readonly Toolchain[]; cacheFile: string },
): LiveCatalog {
  let current = runtimeCatalog(builds, toolchains)
  return {
    list: () => current.list(),
    others: () => current.others(),
    resolve: (name, contract) => current.resolve(name, contract),
    pinned: (digest) => current.pinned(digest),
    async refresh() {
      const found = await findRuntimes({ HOME: '/nonexistent' }, cacheFile)
      const all = new Map([...builds, ...found].map((build) => [build.digest, build]))
      current = runtimeCatalog([...all.values()], toolchains)
    },
  }
}

/** `hearth runtime install`: fetches the build, then tells the platform of this machine, if one runs. */
export async function installRuntimeHere({ output, env, cwd }: Context, id: string): Promise<number> {
  const python = /^python(3\.\d+)?$/.exec(id)
  if (python !== null)
    throw new AppError('invalid', `Cannot install "${id}": Hearth takes Python from the machine.`, {
      field: 'runtime',
      detail: `Install it with the system's packages (apt-get install ${python[1] === undefined ? 'python3' : id}), pyenv or uv, then start Hearth again.`,
    })
  output.status(`installing ${id} from npm ...`)
  const executable = await installRuntime(id, installedFolder).finally(() => output.status(''))
  const build = (await findRuntimes(env)).find((found) => found.executable === executable)
  const isTold = await tellPlatform({ env, cwd })
  if (output.isJson) output.json({ ...(build ?? { id, executable }), platformTold: isTold })
  else
    output.line(
      `Installed ${id} ${build?.version ?? ''} at ${executable}.${isTold ? ' The running platform offers it now.' : ''}`,
    )
  return 0
}

async function tellPlatform({ env, cwd }: Pick<Context, 'env' | 'cwd'>): Promise<boolean> {
  try {
    const { data } = await findServer({ env, cwd, root: appRoot, url: undefined, apiKey: undefined })
    if (data === null) return false
    const { pid } = JSON.parse(await readFile(path.join(data, 'server.json'), 'utf8')) as { pid: number }
    return process.kill(pid, 'SIGHUP')
  } catch {
    return false // None runs here, or it is somebody else's: it finds the build at its next start.
  }
}
