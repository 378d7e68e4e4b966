import type { RuntimeBuild } from '../../src/domain/runtime.ts'

/** A build that exists nowhere for the one boot after `break`: what a driver's contract asks of `breakBoot`. */
export class BreakableBuild {
  readonly #build: RuntimeBuild
  #isBroken = false

  constructor(build: RuntimeBuild) {
    this.#build = build
  }

  readonly break = (): void => {
    this.#isBroken = true
  }

  /** What to boot now. */
  take(): RuntimeBuild {
    if (!this.#isBroken) return this.#build
    this.#isBroken = false
    return { ...this.#build, digest: `sha256:${'0'.repeat(64)}`, executable: '/usr/bin/no-such-interpreter' }
  }
}
