import { closeSync, existsSync, openSync } from 'node:fs'

/** Files kept open, so that whoever cleans up can see that they are in use. */
export class HeldFiles {
  readonly #open = new Map<string, number>()

  /** `file` is kept open from now on, if this process may open it; false when it is not there any more. */
  hold(file: string): boolean {
    const held = this.#open.get(file)
    if (held === undefined) return this.#holdAnew(file)
    if (existsSync(file)) return true
    closeSync(held)
    this.#open.delete(file)
    return false
  }

  close(): void {
    for (const fd of this.#open.values()) closeSync(fd)
    this.#open.clear()
  }

  #holdAnew(file: string): boolean {
    try {
      this.#open.set(file, openSync(file, 'r'))
      return true
    } catch {
      return existsSync(file)
    }
  }
}
