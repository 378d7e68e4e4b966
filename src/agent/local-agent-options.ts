import type { HostServices, OutcomeSink, SecretSource } from '../domain/agent.ts'
import type { ArtifactStore } from '../domain/artifact.ts'
import type { Clock } from '../domain/clock.ts'
import type { Driver, IsolationPolicy } from '../domain/driver.ts'
import type { Arch } from '../domain/function.ts'
import type { ImageStore } from '../domain/image.ts'
import type { Logger } from '../domain/logger.ts'
import type { RuntimeCatalog } from '../domain/runtime.ts'
import type { Survivors } from './adoptions.ts'
import type { PlaceNames } from './binding.ts'

export interface LocalAgentOptions {
  readonly node: string
  readonly arch: Arch
  /** In the operator's order of preference; `auto` takes the first that works. */
  readonly drivers: readonly Driver[]
  readonly isolation?: IsolationPolicy
  /** Root and code images for drivers that take them; null where there is none such. */
  readonly images: Pick<ImageStore, 'codeImage' | 'codeOwners' | 'forgetCode'> | null
  readonly runtimes: RuntimeCatalog
  readonly artifacts: ArtifactStore
  readonly secrets: SecretSource
  readonly hostServices: HostServices
  readonly outcomes: OutcomeSink
  readonly logger: Logger
  readonly folders: { readonly instances: string; readonly logs: string; readonly snapshots: string }
  /** What Instances may hold together. */
  readonly memoryMib: number
  /** Booted Instances to keep ready per runtime in use. */
  readonly poolSize: number
  /** The same for microVMs, per runtime and size of memory. */
  readonly vmPoolSize: number
  /** The same per function snapshot that was started from lately. */
  readonly vmFunctionPoolSize: number
  /** VMMs kept waiting for the state of each snapshot that was started from lately. */
  readonly vmPrespawn: number
  readonly names: PlaceNames
  /** Instances that outlived the agent before this one; without it none is looked for. */
  readonly survivors?: Survivors
  /** Log output of one Instance; more is dropped. */
  readonly logBytesPerSecond?: number
  readonly clock?: Clock
  /** Source of ids: 32 lower-case hex digits, not to be guessed. */
  readonly newToken?: () => string
}
