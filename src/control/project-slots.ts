import type { FunctionGate } from './admission.ts'

/** The quota that all functions of one project share. */
export class ProjectSlots {
  running = 0
  readonly gates = new Map<string, FunctionGate>()
  readonly #max: () => number

  constructor(max: () => number) {
    this.#max = max
  }

  /** Invocations at a time, as it is now. */
  get max(): number {
    return this.#max()
  }

  hasSlot(): boolean {
    return this.running < this.max
  }

  /** Invocations of all its functions that wait for a slot. O(functions). */
  get waiting(): number {
    return [...this.gates.values()].reduce((sum, gate) => sum + gate.waiting, 0)
  }

  /** The quota is another: whoever has a slot now runs. */
  changed(): void {
    for (const gate of this.gates.values()) if (gate.waiting > 0) gate.pump()
  }

  /** A slot of `gate` is free. At the quota it may be for another function of the project: O(functions), only then. */
  freed(gate: FunctionGate): void {
    const wasFull = !this.hasSlot()
    this.running--
    if (!wasFull) return
    for (const other of this.gates.values()) if (other !== gate && other.waiting > 0) other.pump()
  }
}
