import type { PackageTool, Toolchain } from '../domain/build.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'
import type { Config } from './config.ts'
import type { ServiceUser } from './service-user.ts'
import type { VmmPrograms } from './vmm-programs.ts'

/* What the first stage of `hearth up` hands to the second: apart from both, so that neither loads what only the other needs. */

/** One JSON argument. */
export interface ServeOptions {
  readonly config: Config
  /** Who the platform runs as; null = as the caller. */
  readonly user: ServiceUser | null
  readonly runtimes: readonly RuntimeBuild[]
  readonly vmms: VmmPrograms
  /** Compilers of this machine, those of the user who started the platform among them. */
  readonly toolchains: readonly Toolchain[]
  /** npm and pip, the same way. */
  readonly packageTools: readonly PackageTool[]
}

/** The service user cannot read root's key file: certificate and key go by the environment, which only the process itself and root can read. */
export const tlsVariables = { cert: 'HEARTH_TLS_CERT_PEM', key: 'HEARTH_TLS_KEY_PEM' } as const
