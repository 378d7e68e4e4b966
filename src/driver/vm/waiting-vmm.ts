import type { Prespawned } from '../../domain/driver.ts'
import type { SpareVmm } from './vmm.ts'

/** A VMM started ahead; `take` hands it to the one restore it can serve. */
export class WaitingVmm implements Prespawned {
  readonly snapshotId: string
  readonly ended: Promise<unknown>
  #spare: SpareVmm | null

  constructor(snapshotId: string, spare: SpareVmm) {
    this.snapshotId = snapshotId
    this.ended = spare.ended
    this.#spare = spare
  }

  get isAlive(): boolean {
    return this.#spare?.isAlive === true
  }

  take(): SpareVmm | null {
    const spare = this.#spare
    this.#spare = null
    return spare
  }

  async kill(): Promise<void> {
    await this.take()?.kill()
  }
}
