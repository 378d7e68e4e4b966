import type { Clock } from '../domain/clock.ts'
import type { InvokeReply, InvokeRequest } from '../domain/control.ts'
import { toAppError } from '../domain/error.ts'
import type { DeployedVersion, Version } from '../domain/function.ts'
import type { ColdCause, Receipt } from '../domain/invocation.ts'
import type { Logger } from '../domain/logger.ts'
import { ActiveRuns } from './active-runs.ts'
import type { Admission, FunctionGate } from './admission.ts'
import type { Placement } from './placement.ts'
import type { Preparations } from './preparations.ts'
import { Run } from './run.ts'
import type { RunHost } from './run-host.ts'
import type { Stats } from './stats.ts'
import type { VersionCache } from './versions.ts'

export interface InvokerOptions {
  readonly versions: VersionCache
  readonly admission: Admission
  readonly placement: Placement
  readonly stats: Stats
  readonly preparations: Pick<Preparations, 'ended'>
  readonly receipts: { append(receipt: Receipt): void }
  readonly clock: Clock
  readonly logger: Logger
  /** Makes the id of an invocation accepted at `nowMs`. */
  readonly newId: (nowMs: number) => string
  /** Epoch ms: older Versions that are cold are so because of a restart. */
  readonly startedAt: number
  readonly streamBytesMax: number
}

/** Runs invocations: version, admission, node, receipt. The warm path has no promise in it. */
export class Invoker implements RunHost {
  readonly clock: Clock
  readonly placement: Placement
  readonly receipts: { append(receipt: Receipt): void }
  readonly newId: (nowMs: number) => string
  readonly streamBytesMax: number
  readonly active = new ActiveRuns<Run>()
  readonly #options: InvokerOptions
  /** The gate of a Version's function. The cache hands out the same Version each time, which spares the path two look-ups by text. */
  readonly #gates = new WeakMap<Version, FunctionGate>()

  constructor(options: InvokerOptions) {
    this.#options = options
    this.clock = options.clock
    this.placement = options.placement
    this.receipts = options.receipts
    this.newId = options.newId
    this.streamBytesMax = options.streamBytesMax
  }

  invoke(request: InvokeRequest, done: (reply: InvokeReply) => void): (reason: string) => void {
    const run = new Run(this, request, done)
    const { caller, functionName, qualifier } = request
    const version = this.#options.versions.cached(caller.project, functionName, qualifier)
    if (version !== undefined) run.admit(version, this.#gateOf(version))
    else void this.#resolveThenAdmit(run)
    return (reason) => void run.cancel(reason)
  }

  /** Why a new Instance would be needed, as far as only the control knows: this Version has not run since the platform started. */
  coldHint(gate: FunctionGate, version: Version): ColdCause | null {
    if (!gate.isNew(version.number)) return null
    if (version.createdAt < this.#options.startedAt) return 'restart'
    return version.number === 1 ? 'first' : 'new_version'
  }

  #gateOf(version: Version): FunctionGate {
    const known = this.#gates.get(version)
    if (known !== undefined) return known
    const { admission, stats } = this.#options
    const { project, functionName } = version
    const gate = admission.gate({ project, name: functionName }, stats.of(project, functionName))
    this.#gates.set(version, gate)
    return gate
  }

  async #resolveThenAdmit(run: Run): Promise<void> {
    const { caller, functionName, qualifier } = run.request
    try {
      const { versions } = this.#options
      let version = await versions.resolveNow(caller.project, functionName, qualifier)
      if (version.state === 'pending') {
        await this.#untilPrepared(run, version)
        version = await versions.resolveNow(caller.project, functionName, qualifier)
      }
      if (version.state === 'active') run.admit(version, this.#gateOf(version))
      else if (version.state === 'failed') run.failUnprepared(version, this.#gateOf(version), version.stateReason ?? '')
      else run.rejectUnresolved(`Version ${version.number} of "${functionName}" is still being prepared.`)
    } catch (error) {
      // The name was resolved a moment ago by `authorizeInvoke`: it has been deleted since, or the store failed.
      const { code, message, detail } = toAppError(error)
      if (code === 'not_found') return run.rejectGone()
      this.#options.logger.warn('invocation.resolve.failed', { invocationId: run.id, code, detail })
      run.rejectUnresolved(message)
    }
  }

  /** Waits for a Version that was accepted and cannot run yet, as long as the deadline allows: then the run has ended. */
  async #untilPrepared(run: Run, version: DeployedVersion): Promise<void> {
    run.hold(version, this.#gateOf(version))
    const timer = this.clock.schedule(Math.max(0, run.deadline - this.clock.nowMs()), () => run.onExpired(null))
    await this.#options.preparations.ended(version).finally(() => timer.cancel())
  }
}
