import { test, type TestContext } from 'node:test'

/** What decides every choice of a seeded test: HEARTH_TEST_SEED, or one fixed number. */
export const seed = Number(process.env['HEARTH_TEST_SEED'] ?? 20_261_121)

/** Choices that a seed repeats (mulberry32: one 32-bit state, good enough for test data). */
export class Random {
  #state: number

  /** `stream` keeps two tests of one seed from making the same choices. */
  constructor(stream: string, from = seed) {
    this.#state = from >>> 0
    for (let n = 0; n < stream.length; n++)
      this.#state = Math.imul(this.#state ^ stream.charCodeAt(n), 0x01000193) >>> 0
  }

  /** From 0 to, not including, 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }

  /** A whole number from 0 to `count` - 1. */
  below(count: number): number {
    return Math.floor(this.next() * count)
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)]
    if (item === undefined) throw new Error('nothing to pick from')
    return item
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)))
  }
}

/** A test whose choices come from `random`; a failure names the seed that repeats them. */
export function seededTest(
  title: string,
  run: (random: Random, t: TestContext) => Promise<void>,
  options: { skip?: string | false } = {},
): void {
  test(title, options, async (t) => {
    t.diagnostic(`seed ${seed}`)
    try {
      await run(new Random(title), t)
    } catch (error) {
      console.error(`${title}: failed; repeat with HEARTH_TEST_SEED=${seed}`)
      throw error
    }
  })
}
