import type { AttemptRecord, Phase, Receipt } from '../domain/invocation.ts'

/* Receipts as they lie in a segment: a line is a JSON array of rows, a row is a receipt by position, its times in epoch ms relative to
 * `createdAt`, its durations in whole microseconds. 280 bytes and 1.0 us a receipt; by name and in full it is 800 bytes and 1.8 us,
 * of 20 us that a warm invocation takes. A new field goes to the end of a row and is optional there: old segments stay readable. */

type Row = readonly [
  id: Receipt['id'],
  project: Receipt['project'],
  functionName: Receipt['function'],
  version: Receipt['version'],
  state: Receipt['state'],
  outcome: Receipt['outcome'],
  effect: Receipt['effect'],
  createdAt: number,
  deadlineAfterMs: number,
  endedAfterMs: number | null,
  attempts: readonly AttemptRow[],
  phases: readonly PhaseRow[],
  durationUs: number,
  start: Receipt['start'],
  coldCause: Receipt['coldCause'],
  crashReason: Receipt['crashReason'],
  memoryPeakMib: number,
  bytesFetched: number,
  ephemeralBytesPeak: number,
  storageOps: number,
  requestBytes: number,
  responseBytes: number,
  error: Receipt['error'],
]

type AttemptRow = readonly [
  node: string,
  instance: string,
  driver: string,
  arch: string,
  startedAfterMs: number,
  endedAfterMs: number,
  outcome: AttemptRecord['outcome'],
  vmm?: AttemptRecord['vmm'],
  snapshot?: AttemptRecord['snapshot'],
]

type PhaseRow = readonly [
  phase: Phase['phase'],
  startUs: number,
  durationUs: number,
  source: Phase['source'],
  bytes: number,
]

/** One line, without its newline. Serialising like-shaped rows together is faster than one by one. */
export function encodeLine(receipts: readonly Receipt[]): string {
  return JSON.stringify(receipts.map(toRow))
}

/** The receipts of a line. Throws SyntaxError (torn line). */
export function decodeLine(line: string): Receipt[] {
  const rows: readonly Row[] = JSON.parse(line)
  return rows.map(fromRow)
}

function toRow(receipt: Receipt): Row {
  const { createdAt } = receipt
  return [
    receipt.id,
    receipt.project,
    receipt.function,
    receipt.version,
    receipt.state,
    receipt.outcome,
    receipt.effect,
    createdAt,
    receipt.deadline - createdAt,
    receipt.endedAt === null ? null : receipt.endedAt - createdAt,
    receipt.attempts.map((attempt) => toAttemptRow(attempt, createdAt)),
    receipt.phases.map(toPhaseRow),
    toUs(receipt.durationMs),
    receipt.start,
    receipt.coldCause,
    receipt.crashReason,
    receipt.memoryPeakMib,
    receipt.bytesFetched,
    receipt.ephemeralBytesPeak,
    receipt.storageOps,
    receipt.requestBytes,
    receipt.responseBytes,
    receipt.error,
  ]
}

function toAttemptRow(attempt: AttemptRecord, createdAt: number): AttemptRow {
  const { node, instance, driver, arch, startedAt, endedAt, outcome, vmm, snapshot } = attempt
  const row = [node, instance, driver, arch, startedAt - createdAt, endedAt - createdAt, outcome] as const
  return vmm === null && snapshot === null ? row : [...row, vmm, snapshot]
}

function toPhaseRow({ phase, startMs, durationMs, source, bytes }: Phase): PhaseRow {
  return [phase, toUs(startMs), toUs(durationMs), source, bytes]
}

function fromRow([
  id,
  project,
  functionName,
  version,
  state,
  outcome,
  effect,
  createdAt,
  deadlineAfterMs,
  endedAfterMs,
  attempts,
  phases,
  durationUs,
  start,
  coldCause,
  crashReason,
  memoryPeakMib,
  bytesFetched,
  ephemeralBytesPeak,
  storageOps,
  requestBytes,
  responseBytes,
  error,
]: Row): Receipt {
  return {
    id,
    project,
    function: functionName,
    version,
    state,
    outcome,
    effect,
    createdAt,
    deadline: createdAt + deadlineAfterMs,
    endedAt: endedAfterMs === null ? null : createdAt + endedAfterMs,
    attempts: attempts.map((attempt) => fromAttemptRow(attempt, createdAt)),
    phases: phases.map(fromPhaseRow),
    durationMs: durationUs / 1_000,
    start,
    coldCause,
    crashReason,
    memoryPeakMib,
    bytesFetched,
    ephemeralBytesPeak,
    storageOps,
    requestBytes,
    responseBytes,
    error,
  }
}

function fromAttemptRow(row: AttemptRow, createdAt: number): AttemptRecord {
  const [node, instance, driver, arch, startedAfterMs, endedAfterMs, outcome, vmm = null, snapshot = null] = row
  return {
    node,
    instance,
    driver,
    vmm,
    snapshot,
    arch,
    startedAt: createdAt + startedAfterMs,
    endedAt: createdAt + endedAfterMs,
    outcome,
  }
}

function fromPhaseRow([phase, startUs, durationUs, source, bytes]: PhaseRow): Phase {
  return { phase, startMs: startUs / 1_000, durationMs: durationUs / 1_000, source, bytes }
}

function toUs(ms: number): number {
  return Math.round(ms * 1_000)
}
