import type { Logger } from '../domain/logger.ts'
import type { Instance } from './instance.ts'
import { frozenMib } from './rest-policy.ts'

/** What freezing needs of the agent around it. */
export interface FreezeHost {
  readonly logger: Logger
  release(mib: number): void
  charge(mib: number): void
  onInstanceChanged(instance: Instance): void
}

/** Stops the CPUs of an idle Instance; it counts what it holds from now on, and `wholeMib` again if that fails. */
export function freeze(instance: Instance, wholeMib: number, host: FreezeHost): void {
  instance.state = 'frozen'
  const mib = Math.min(instance.chargedMib, frozenMib(instance))
  host.release(instance.chargedMib - mib)
  instance.chargedMib = mib
  host.onInstanceChanged(instance)
  const freezing = instance.sandbox.pause()
  instance.freeze = freezing
  freezing.catch((error: unknown) => {
    // An invocation that came meanwhile has thawed it, and it may even be frozen again since: then nothing failed.
    if (instance.freeze !== freezing || instance.isDead) return
    host.logger.warn('instance.freeze.failed', { instanceId: instance.id, error: String(error) })
    instance.state = 'ready'
    chargeWhole(instance, wholeMib, host)
  })
}

/** Lets a frozen Instance run again. What is sent to it waits until it does; `failed` is told when it cannot, unless it is dead by then. */
export function thaw(instance: Instance, wholeMib: number, host: FreezeHost, failed: () => void): void {
  instance.freeze = null
  chargeWhole(instance, wholeMib, host)
  instance.sandbox.resume().catch((error: unknown) => {
    host.logger.error('instance.thaw.failed', { instanceId: instance.id, error: String(error) })
    if (!instance.isDead) failed()
  })
}

/** It may be invoked from here on: it counts all of its size, even what is not there. */
export function chargeWhole(instance: Instance, wholeMib: number, host: FreezeHost): void {
  host.charge(wholeMib - instance.chargedMib)
  instance.chargedMib = wholeMib
}
