import type { RuntimeBuild } from '../../domain/runtime.ts'
import { dirname, join } from 'node:path'

/** Where the shims are seen in a sandbox. */
export const shimMount = '/var/runtime'

/** What starts the shim of `build` when the shims lie in `shimFolder`. */
export function runtimeArgv(build: RuntimeBuild, shimFolder: string): string[] {
  switch (build.family) {
    case 'node':
      return [build.executable, join(shimFolder, 'bootstrap.cjs')]
    case 'python':
      // Neither the user's site folder nor PYTHON* variables may change what the shim imports; -u keeps raw prints in order.
      return [build.executable, '-u', '-s', join(shimFolder, 'bootstrap.py')]
  }
}

/** All that a runtime finds before BIND. */
export function runtimeEnv(build: RuntimeBuild, epoch: string): Record<string, string> {
  return {
    HEARTH_EPOCH: epoch,
    PATH: `${dirname(build.executable)}:/usr/local/bin:/usr/bin:/bin`,
    HOME: '/tmp',
    TZ: 'UTC',
    LANG: 'C.UTF-8',
    ...(build.family === 'python' && { PYTHONPYCACHEPREFIX: '/var/cache/hearth' }),
  }
}
