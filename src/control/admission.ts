import type { Clock, Timer } from '../domain/clock.ts'
import type { Overload, Rejection } from '../domain/control.ts'
import { ProjectSlots } from './project-slots.ts'
import type { FunctionFigures } from './stats.ts'

/* THE POLICY of what runs now, waits or is refused: one module, to be replaced by a better one.
 *
 *   enter --slot free--> run ----------------------------> leave
 *     |                   \--node refuses (capacity)--> wait at the head until the node says it changed
 *     +--no slot--> wait (priority, then arrival) --slot free--> run
 *     |               \--deadline--> expired
 *     +--queue full, or the function is deleted--> rejected with the reason and when to come back
 */

/** Something that wants to run, as the policy sees it. Exactly one of `onRun` (perhaps again after `park`), `onExpired`, `onRejected` is the next thing it hears. */
export interface Candidate {
  readonly deadline: number
  /** 0 (first) to 5 (last). */
  readonly priority: number
  readonly bytes: number
  /** `hasWaited`: not at once on entering. */
  onRun(hasWaited: boolean): void
  /** `heldBy`: the limit that it waited for, if it has waited. */
  onExpired(heldBy: Overload | null): void
  onRejected(rejection: Rejection): void
}

const priorities = 6
/** A function's queue holds twenty rounds of its concurrency, and a useful burst where that is small. */
const queueRoundsMax = 20
const queueMin = 100
/** Bodies of waiting invocations of one function; beyond this memory, not count, is the limit. */
const queueBytesMax = 64 * 1024 * 1024
/** The function was deleted after the call had come. */
export const gone: Rejection = { kind: 'gone' }
/** A node that refused is asked again after this long even if it said nothing. */
const capacityRetryMs = 500
/** Service time assumed before anything was measured. */
const serviceMsDefault = 100

type Limit = Pick<Overload, 'kind' | 'resource' | 'limit'>

/** Slots and queue of one function. */
export class FunctionGate {
  readonly project: ProjectSlots
  readonly figures: FunctionFigures
  readonly #owner: Admission
  readonly #queues: Candidate[][] = Array.from({ length: priorities }, () => [])
  readonly #versionsSeen = new Set<number>()
  #lastVersion = 0
  concurrency = 1
  running = 0
  waiting = 0
  waitingBytes = 0
  /** The node had no room: nothing of this function is tried before it reports a change. */
  isBlocked = false
  /** What kept those who wait waiting, when it was last looked at: a slot that is free now may have been another's. */
  #heldBy: Limit | null = null
  #isClosed = false
  #timer: Timer | null = null
  #timerDue = Infinity

  constructor(owner: Admission, project: ProjectSlots, figures: FunctionFigures) {
    this.#owner = owner
    this.project = project
    this.figures = figures
  }

  /** Whether this is the first that is heard of Version `number` since the platform started. */
  isNew(number: number): boolean {
    if (number === this.#lastVersion) return false
    this.#lastVersion = number
    if (this.#versionsSeen.has(number)) return false
    this.#versionsSeen.add(number)
    return true
  }

  /** Runs `candidate` now, lets it wait, or refuses it; before returning. */
  enter(candidate: Candidate): void {
    if (this.#isClosed) return candidate.onRejected(gone)
    if (this.waiting === 0 && !this.isBlocked && this.running < this.concurrency && this.project.hasSlot())
      return this.#run(candidate, false)
    if (candidate.deadline <= this.#owner.clock.nowMs()) return candidate.onExpired(null)
    const countMax = Math.max(queueMin, this.concurrency * queueRoundsMax)
    if (this.waiting >= countMax || this.waitingBytes + candidate.bytes > queueBytesMax)
      return candidate.onRejected(this.#rejection())
    this.#queues[candidate.priority]?.push(candidate)
    this.#added(candidate)
  }

  /** The slot of a candidate that ran is free again. */
  leave(): void {
    this.running--
    this.figures.running = this.running
    this.project.freed(this)
    this.pump()
  }

  /** The node refused a candidate for lack of capacity: it waits at the head and its slot is free. */
  park(candidate: Candidate): void {
    this.running--
    this.figures.running = this.running
    this.project.freed(this)
    if (this.#isClosed) return candidate.onRejected(gone)
    this.isBlocked = true
    this.#queues[candidate.priority]?.unshift(candidate)
    this.#added(candidate)
    this.#owner.blocked(this)
  }

  /** Takes a waiting candidate out; false when it is not waiting. */
  withdraw(candidate: Candidate): boolean {
    const queue = this.#queues[candidate.priority] ?? []
    const at = queue.indexOf(candidate)
    if (at < 0) return false
    queue.splice(at, 1)
    this.#removed(candidate)
    return true
  }

  /** The function is deleted: nobody waits any more, and whoever comes late is told. */
  close(): void {
    this.#isClosed = true
    for (const candidate of this.#queues.flat()) if (this.withdraw(candidate)) candidate.onRejected(gone)
  }

  /** Gives free slots to whoever waits, in order; expired work is dropped at the door. */
  pump(): void {
    while (this.waiting > 0 && !this.isBlocked && this.running < this.concurrency && this.project.hasSlot()) {
      const candidate = this.#shift()
      if (candidate === null) return
      if (candidate.deadline <= this.#owner.clock.nowMs()) candidate.onExpired(this.#expiry())
      else this.#run(candidate, true)
    }
    if (this.waiting > 0) this.#heldBy = this.#limit()
  }

  #run(candidate: Candidate, hasWaited: boolean): void {
    this.running++
    this.figures.running = this.running
    this.project.running++
    candidate.onRun(hasWaited)
  }

  #shift(): Candidate | null {
    const candidate = this.#queues.find((queue) => queue.length > 0)?.shift() ?? null
    if (candidate !== null) this.#removed(candidate)
    return candidate
  }

  #added(candidate: Candidate): void {
    this.waiting++
    this.waitingBytes += candidate.bytes
    this.figures.queued = this.waiting
    this.#heldBy = this.#limit()
    if (candidate.deadline < this.#timerDue) this.#expireAt(candidate.deadline)
  }

  #removed(candidate: Candidate): void {
    this.waiting--
    this.waitingBytes -= candidate.bytes
    this.figures.queued = this.waiting
  }

  #expireAt(deadline: number): void {
    this.#timer?.cancel()
    this.#timerDue = deadline
    this.#timer = this.#owner.clock.schedule(Math.max(0, deadline - this.#owner.clock.nowMs()), () => this.#expire())
  }

  /** Answers everyone whose deadline has passed. O(waiting), and at most once per deadline. */
  #expire(): void {
    this.#timerDue = Infinity
    this.#timer = null
    const nowMs = this.#owner.clock.nowMs()
    const due = this.#queues.flatMap((queue) => queue.filter((candidate) => candidate.deadline <= nowMs))
    for (const candidate of due) if (this.withdraw(candidate)) candidate.onExpired(this.#expiry())
    const next = Math.min(...this.#queues.flat().map((candidate) => candidate.deadline))
    if (Number.isFinite(next)) this.#expireAt(next)
  }

  #rejection(): Overload {
    return this.#overload(this.#limit(), 'queue_full')
  }

  #expiry(): Overload {
    return this.#overload(this.#heldBy ?? this.#limit(), 'deadline_passed')
  }

  /** What lets nobody in now. */
  #limit(): Limit {
    if (this.isBlocked) return { kind: 'capacity', resource: 'node-memory' }
    return this.running < this.concurrency
      ? { kind: 'own_limit', resource: 'project-concurrency', limit: this.project.max }
      : { kind: 'own_limit', resource: 'function-concurrency', limit: this.concurrency }
  }

  /** With when a slot may be free: what waits, over how many run at a time, by the measured service time. */
  #overload(limit: Limit, cause: string): Overload {
    const { durationSumMs, invocations } = this.figures
    const serviceMs = invocations > 0 && durationSumMs > 0 ? durationSumMs / invocations : serviceMsDefault
    const retryAfterMs = Math.min(
      60_000,
      Math.max(1_000, (serviceMs * (this.waiting + 1)) / Math.max(1, this.concurrency)),
    )
    const isQueueOfNode = limit.kind === 'capacity' && cause === 'queue_full'
    return { ...limit, cause: isQueueOfNode ? 'no_memory_for_another_instance' : cause, retryAfterMs }
  }
}

/** All gates of this control, and who waits for the node. */
export class Admission {
  readonly clock: Clock
  readonly #projects = new Map<string, ProjectSlots>()
  readonly #blocked = new Set<FunctionGate>()
  readonly #quotaOf: (project: string) => number
  #retry: Timer | null = null

  constructor({ clock, quotaOf }: { clock: Clock; quotaOf: (project: string) => number }) {
    this.clock = clock
    this.#quotaOf = quotaOf
  }

  gate({ project, name }: { project: string; name: string }, figures: FunctionFigures): FunctionGate {
    const slots = this.#slotsOf(project)
    const known = slots.gates.get(name)
    if (known !== undefined) return known
    const gate = new FunctionGate(this, slots, figures)
    slots.gates.set(name, gate)
    return gate
  }

  /** The function is deleted: whoever waits is told, whoever still runs keeps the gate alive for itself. */
  remove({ project, name }: { project: string; name: string }): void {
    const { gates } = this.#slotsOf(project)
    gates.get(name)?.close()
    gates.delete(name)
  }

  /** The quota of `project` is another from now on: more may run at once; what runs beyond a lower one comes to its end. */
  quotaChanged(project: string): void {
    this.#slotsOf(project).changed()
  }

  /** What of `project` runs and waits. O(functions). */
  usageOf(project: string): { running: number; queued: number } {
    const slots = this.#slotsOf(project)
    return { running: slots.running, queued: slots.waiting }
  }

  /** The node has room again, or may have: whoever it refused is tried once more. */
  nodeChanged(): void {
    if (this.#blocked.size === 0) return
    const gates = [...this.#blocked]
    this.#blocked.clear()
    for (const gate of gates) gate.isBlocked = false
    for (const gate of gates) gate.pump()
  }

  blocked(gate: FunctionGate): void {
    this.#blocked.add(gate)
    if (this.#retry !== null) return
    this.#retry = this.clock.schedule(capacityRetryMs, () => {
      this.#retry = null
      this.nodeChanged()
    })
  }

  #slotsOf(project: string): ProjectSlots {
    const known = this.#projects.get(project)
    if (known !== undefined) return known
    const slots = new ProjectSlots(() => this.#quotaOf(project))
    this.#projects.set(project, slots)
    return slots
  }
}
