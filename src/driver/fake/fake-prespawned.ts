import type { Prespawned } from '../../domain/driver.ts'

/** Stands for a process that waits to become a machine; `kill` is its death, too. */
export class FakePrespawned implements Prespawned {
  readonly snapshotId: string
  readonly ended: Promise<void>
  isUsed = false
  #hasEnded = false
  #end: () => void = () => {}

  constructor(snapshotId: string) {
    this.snapshotId = snapshotId
    this.ended = new Promise((resolve) => (this.#end = resolve))
  }

  get isAlive(): boolean {
    return !this.isUsed && !this.#hasEnded
  }

  async kill(): Promise<void> {
    if (this.isUsed) return
    this.#hasEnded = true
    this.#end()
  }
}
