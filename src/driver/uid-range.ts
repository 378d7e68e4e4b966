import { AppError } from '../domain/error.ts'

/** Uids for sandboxes: each has one of its own while it lives, so that no two can touch each other by uid. Given out in turn, so that
 *  one just freed rests as long as possible. */
export class UidRange {
  readonly first: number
  readonly count: number
  readonly #taken = new Set<number>()
  #next = 0

  constructor({ first, count }: { first: number; count: number }) {
    this.first = first
    this.count = count
  }

  /** Throws capacity when all are taken. */
  take(): number {
    for (let tries = 0; tries < this.count; tries++) {
      const uid = this.first + this.#next
      this.#next = (this.#next + 1) % this.count
      if (this.#taken.has(uid)) continue
      this.#taken.add(uid)
      return uid
    }
    throw new AppError('capacity', `All ${this.count} sandbox uids are taken.`)
  }

  /** Takes the very uid that something of an earlier platform still runs as; false when it is none of these, or taken. */
  claim(uid: number): boolean {
    if (!Number.isInteger(uid) || uid < this.first || uid >= this.first + this.count) return false
    if (this.#taken.has(uid)) return false
    this.#taken.add(uid)
    return true
  }

  give(uid: number): void {
    this.#taken.delete(uid)
  }
}
