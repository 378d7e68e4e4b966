import { formatBytes, formatMs, formatTime, fieldList, type Paint } from './output.ts'

/** What the chart needs of an invocation's record. */
export interface ReceiptView {
  readonly id: string
  readonly function: string
  readonly version: number
  readonly state: string
  readonly outcome: string | null
  readonly effect: string
  readonly createdAt: number
  readonly endedAt?: number | null
  readonly durationMs?: number
  readonly start?: string | null
  readonly coldCause?: string | null
  readonly crashReason?: string | null
  readonly memoryPeakMib: number
  readonly attempts: readonly {
    readonly node: string
    readonly instance: string
    readonly driver: string
    readonly vmm?: string | null
    readonly snapshot?: string | null
  }[]
  readonly phases: readonly {
    readonly phase: string
    readonly startMs: number
    readonly durationMs: number
    readonly source: string
    readonly bytes: number
  }[]
  readonly error?: unknown
}

/** An invocation's receipt: facts, then one bar a phase on a common time axis. */
export function renderReceipt(receipt: ReceiptView, options: { columns: number; paint: Paint }): string {
  const { paint } = options
  const outcome = receipt.outcome ?? receipt.state
  const start = [receipt.start, receipt.coldCause].filter((part) => part != null).join(', ')
  const phases = withHandler(receipt)
  const endMs = totalMs(receipt, phases)
  const [attempt] = receipt.attempts.slice(-1)
  const facts = fieldList([
    ['invocation', receipt.id],
    ['function', `${receipt.function}:${receipt.version}`],
    ['outcome', paint(outcome === 'succeeded' ? 'green' : 'red', outcome) + suffix(receipt.crashReason)],
    ['effect', receipt.effect],
    ['start', start],
    ['accepted', formatTime(receipt.createdAt)],
    ['total', formatMs(endMs)],
    ['handler', receipt.durationMs === undefined ? null : formatMs(receipt.durationMs)],
    ['memory', receipt.memoryPeakMib > 0 ? `${receipt.memoryPeakMib} MiB at most` : null],
    ['instance', attempt && `${attempt.instance} on ${attempt.node} (${attempt.vmm ?? attempt.driver})`],
    ['snapshot', attempt?.snapshot ?? null],
    ['attempts', receipt.attempts.length > 1 ? String(receipt.attempts.length) : null],
    ['error', errorText(receipt.error)],
  ])
  return phases.length === 0 ? facts : `${facts}\n\n${renderPhases(phases, endMs, options)}`
}

type PhaseView = ReceiptView['phases'][number]

/** The handler's own time as a last bar; in a cold start it lies in the phase `first_request`. */
function withHandler({ phases, durationMs }: ReceiptView): readonly PhaseView[] {
  if (durationMs === undefined || durationMs === 0 || phases.some(({ phase }) => phase === 'first_request'))
    return phases
  return [...phases, { phase: 'handler', startMs: endOf(phases), durationMs, source: 'none', bytes: 0 }]
}

function renderPhases(phases: readonly PhaseView[], endMs: number, options: { columns: number; paint: Paint }): string {
  const width = Math.max(10, Math.min(60, options.columns - 46))
  const perCell = Math.max(endMs, 0.001) / width
  const names = Math.max(...phases.map(({ phase }) => phase.length))
  return phases
    .map(({ phase, startMs, durationMs, source, bytes }) => {
      const from = Math.min(width - 1, Math.max(0, Math.floor(startMs / perCell)))
      const cells = Math.min(width - from, Math.max(1, Math.round(durationMs / perCell)))
      const bar =
        ' '.repeat(from) + options.paint('cyan', (durationMs < perCell / 2 ? '\u258f' : '\u2588').repeat(cells))
      const rest = [source === 'none' ? '' : source, bytes > 0 ? formatBytes(bytes) : ''].filter(Boolean).join(' ')
      const pad = ' '.repeat(width - from - cells)
      return `${phase.padEnd(names)}  ${bar}${pad}  ${formatMs(durationMs).padStart(9)}  ${rest}`.trimEnd()
    })
    .join('\n')
}

/** Phases are finer than wall-clock times, which are whole milliseconds; those count where they say more. */
function totalMs({ endedAt, createdAt }: ReceiptView, phases: readonly PhaseView[]): number {
  const byPhases = endOf(phases)
  const byClock = endedAt == null ? 0 : endedAt - createdAt
  return byClock > byPhases + 1 ? byClock : byPhases
}

function endOf(phases: readonly PhaseView[]): number {
  return Math.max(0, ...phases.map(({ startMs, durationMs }) => startMs + durationMs))
}

function suffix(reason: string | null | undefined): string {
  return reason == null ? '' : ` (${reason})`
}

function errorText(error: unknown): string | null {
  if (typeof error !== 'object' || error === null) return null
  const { errorType, errorMessage, message } = error as Record<string, unknown>
  if (typeof errorMessage === 'string') return `${String(errorType)}: ${errorMessage}`
  return typeof message === 'string' ? message : null
}
