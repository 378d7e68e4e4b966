import type { RuntimeBuild } from '../../domain/runtime.ts'
import { dirname, join, relative } from 'node:path'

/** Where the shims are seen in a sandbox. */
export const shimMount = '/var/runtime'

/** Where an interpreter that does not lie under /usr is seen in a sandbox. Not at its own path: that may be below /tmp, which is the sandbox's
 *  own, and would name the machine's users. */
const runtimeMount = '/runtime'

/** `build` as a sandbox sees it. Node does not care where it lies; Python finds its library from its executable. */
export function inSandbox(build: RuntimeBuild): RuntimeBuild {
  if (build.prefix === '') return build
  return { ...build, prefix: runtimeMount, executable: join(runtimeMount, relative(build.prefix, build.executable)) }
}

/** What starts the shim of `build` when the shims lie in `shimFolder`. */
export function runtimeArgv(build: RuntimeBuild, shimFolder: string): string[] {
  if (build.family === 'node') return [build.executable, join(shimFolder, 'bootstrap.cjs')]
  // Isolated from its environment and without site-packages: the shim adds what user code may see.
  return [build.executable, '-I', '-S', join(shimFolder, 'bootstrap.py')]
}

/** All that a runtime finds before BIND. */
export function runtimeEnv(build: RuntimeBuild, epoch: string): Record<string, string> {
  return {
    HEARTH_EPOCH: epoch,
    PATH: `${dirname(build.executable)}:/usr/local/bin:/usr/bin:/bin`,
    HOME: '/tmp',
    TZ: 'UTC',
    LANG: 'C.UTF-8',
  }
}
