import { AppError } from '../domain/error.ts'

/** Builds under way at a time: each takes a processor and gigabytes of memory. */
const runningMax = 2
/** Who comes when so many of the project wait is refused; and of all projects, which an operator makes. */
const waitingMax = { project: 8, all: 256 }

interface Waiting {
  readonly project: string
  readonly begin: () => void
  readonly tell: (before: number) => void
}

/** Whose build begins next: of the project that has the fewest under way, who has waited longest. So no project can keep others from building
 *  for longer than one build takes. */
export class BuildQueue {
  readonly #running = new Map<string, number>()
  #waiting: Waiting[] = []

  /** Does `work` when its turn comes; `wait` is called while that is not yet, with how many came before. Throws capacity when too many wait,
   *  and guest_failed when `signal` aborts before. */
  async run<T>(
    project: string,
    work: () => Promise<T>,
    { signal, wait }: { signal: AbortSignal; wait: (before: number) => void },
  ): Promise<T> {
    if (this.#count() >= runningMax) await this.#turn(project, { signal, wait })
    else this.#begin(project)
    try {
      return await work()
    } finally {
      this.#end(project)
    }
  }

  async #turn(
    project: string,
    { signal, wait }: { signal: AbortSignal; wait: (before: number) => void },
  ): Promise<void> {
    const own = this.#waiting.filter((each) => each.project === project).length
    if (own >= waitingMax.project || this.#waiting.length >= waitingMax.all)
      throw new AppError('capacity', `${own} builds of this project wait for their turn: try again in a moment.`, {
        retryAfterMs: 10_000,
      })
    if (signal.aborted) throw givenUp()
    wait(this.#waiting.length)
    await new Promise<void>((resolve, reject) => {
      const waiting = { project, begin: resolve, tell: wait }
      this.#waiting.push(waiting)
      signal.addEventListener('abort', () => {
        if (!this.#waiting.includes(waiting)) return
        this.#waiting = this.#waiting.filter((other) => other !== waiting)
        reject(givenUp())
      })
    })
  }

  #begin(project: string): void {
    this.#running.set(project, this.#of(project) + 1)
  }

  #end(project: string): void {
    const left = this.#of(project) - 1
    if (left > 0) this.#running.set(project, left)
    else this.#running.delete(project)
    const [first, ...others] = this.#waiting
    if (first === undefined) return
    const next = others.reduce((best, each) => (this.#of(each.project) < this.#of(best.project) ? each : best), first)
    this.#waiting = this.#waiting.filter((other) => other !== next)
    this.#begin(next.project)
    next.begin()
    for (const [before, each] of this.#waiting.entries()) each.tell(before)
  }

  #of(project: string): number {
    return this.#running.get(project) ?? 0
  }

  #count(): number {
    return [...this.#running.values()].reduce((sum, count) => sum + count, 0)
  }
}

function givenUp(): AppError {
  return new AppError('guest_failed', 'The build was given up before it began.')
}
