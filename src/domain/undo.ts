/** A stack of undo steps: acquire a resource and `add` its undo on neighbouring lines.
 *  `run` undoes newest first, once, and reports every failure together; `disarm` keeps what was acquired. */
export class Undo {
  #steps: { name: string; undo: () => void | Promise<void> }[] = []

  add(name: string, undo: () => void | Promise<void>): void {
    this.#steps.push({ name, undo })
  }

  disarm(): void {
    this.#steps = []
  }

  async run(): Promise<void> {
    const failures: unknown[] = []
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step.undo()
      } catch (cause) {
        failures.push(new Error(`Cannot undo "${step.name}".`, { cause }))
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, `${failures.length} undo step(s) failed.`)
  }
}
