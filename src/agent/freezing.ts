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

/** One freeze of one Instance, under way or done. */
export interface Freeze {
  /** Its sandbox was told to pause. */
  isPausing: boolean
}

/** Stops the CPUs of an idle Instance, once it is known what it holds; it counts that from then on, and `wholeMib` again if that fails. */
export function freeze(instance: Instance, wholeMib: number, host: FreezeHost): void {
  instance.state = 'frozen'
  const hold = { isPausing: false }
  instance.freeze = hold
  host.onInstanceChanged(instance)
  const pauseIt = (): void => {
    // An invocation may have come meanwhile, and it may even be frozen again since.
    if (instance.freeze === hold && !instance.isDead) pause(instance, hold, { wholeMib, host })
  }
  // A guest that is paused cannot say what it holds.
  const reading = instance.usage.settled()
  if (reading === null) pauseIt()
  else void reading.then(pauseIt)
}

function pause(instance: Instance, hold: Freeze, { wholeMib, host }: { wholeMib: number; host: FreezeHost }): void {
  const mib = Math.min(instance.chargedMib, frozenMib(instance))
  host.release(instance.chargedMib - mib)
  instance.chargedMib = mib
  hold.isPausing = true
  instance.sandbox.pause().catch((error: unknown) => {
    // Thawed meanwhile: then nothing failed.
    if (instance.freeze !== hold || instance.isDead) return
    host.logger.warn('instance.freeze.failed', { instanceId: instance.id, error: String(error) })
    instance.state = 'ready'
    chargeWhole(instance, wholeMib, host)
  })
}

/** Lets a frozen Instance run again. What is sent to it waits until it does; `failed` is told when it cannot, unless it is dead by then. */
export function thaw(instance: Instance, wholeMib: number, host: FreezeHost, failed: () => void): void {
  const { freeze: hold } = instance
  instance.freeze = null
  chargeWhole(instance, wholeMib, host)
  if (hold?.isPausing === false) return
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
