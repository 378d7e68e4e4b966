import { bundleName, interpreterFlags, type RuntimeBuild } from '../domain/runtime.ts'
import { dirname, join, relative } from 'node:path'

/** Where the shims are seen in a sandbox. */
export const shimMount = '/var/runtime'

export interface ShimPlaces {
  readonly shimFolder: string
  /** The guest program. */
  readonly bridge: string
}

/** Where an interpreter is seen whose own path belongs to the sandbox, e.g. in a clone below /tmp. */
const runtimeMount = '/runtime'
/** With what layers bring, as on Lambda. */
const systemPath = '/usr/local/bin:/usr/bin:/bin:/opt/bin'
const sandboxOwn = /^\/(tmp|var|opt|etc|proc|dev)(\/|$)/

/** `build` as a sandbox sees it: at its own path where that is free, since a Python may know its library by its path alone. */
export function inSandbox(build: RuntimeBuild): RuntimeBuild {
  if (!sandboxOwn.test(build.prefix)) return build
  return { ...build, prefix: runtimeMount, executable: join(runtimeMount, relative(build.prefix, build.executable)) }
}

/** What starts `build` when its shim lies in `shimFolder`, or the bridge at `bridge`. */
export function runtimeArgv(build: RuntimeBuild, { shimFolder, bridge }: ShimPlaces): string[] {
  if (build.isBridged) return [bridge, 'bridge']
  const shim = join(shimFolder, build.family === 'node' ? 'bootstrap.cjs' : 'bootstrap.py')
  return [build.executable, ...interpreterFlags(build), shim, bundleName(build)]
}

/** All that a runtime finds before BIND. */
export function runtimeEnv(build: RuntimeBuild, epoch: string): Record<string, string> {
  return {
    HEARTH_EPOCH: epoch,
    PATH: build.family === 'provided' ? systemPath : `${dirname(build.executable)}:${systemPath}`,
    HOME: '/tmp',
    TZ: 'UTC',
    LANG: 'C.UTF-8',
    ...(build.prefix === runtimeMount && { LD_LIBRARY_PATH: `${runtimeMount}/lib` }),
  }
}
