/** Percentile `p` (0..1) of `values`, nearest rank; NaN when empty. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? Number.NaN
}

export const median = (values: readonly number[]): number => percentile(values, 0.5)

/** One line of the printed table: a measured figure beside the limit measured in the same run. */
export interface Row {
  /** Promise id of ARCHITECTURE.md, e.g. `P1`. */
  readonly promise: string
  readonly subject: string
  readonly value: number
  readonly unit: string
  /** What it is held against, measured in the same run; null when the promise is absolute. */
  readonly limit: { readonly what: string; readonly value: number } | null
  /** `value / limit` (or `value` itself) must satisfy this. */
  readonly bound: { readonly op: '<=' | '>='; readonly value: number } | null
  /** Anything a reader needs in order to believe the figure. */
  readonly note: string
}

export function ratioOf(row: Row): number {
  return row.limit === null ? row.value : row.value / row.limit.value
}

export function verdictOf(row: Row): 'kept' | 'missed' | 'shown' {
  if (row.bound === null) return 'shown'
  const ratio = ratioOf(row)
  return (row.bound.op === '<=' ? ratio <= row.bound.value : ratio >= row.bound.value) ? 'kept' : 'missed'
}

/** Promises as a Markdown table. */
export function table(rows: readonly Row[]): string {
  const head =
    '| id | subject | measured | limit in the same run | ratio | promise | verdict | note |\n|---|---|---|---|---|---|---|---|'
  const lines = rows.map((row) => {
    const limit = row.limit === null ? '-' : `${row.limit.what}: ${format(row.limit.value)} ${row.unit}`
    const ratio = row.limit === null ? '-' : `${format(ratioOf(row))}x`
    const bound =
      row.bound === null ? '-' : `${row.bound.op} ${row.bound.value}${row.limit === null ? ` ${row.unit}` : 'x'}`
    const cells = [
      row.promise,
      row.subject,
      `${format(row.value)} ${row.unit}`,
      limit,
      ratio,
      bound,
      verdictOf(row),
      row.note,
    ]
    return `| ${cells.join(' | ')} |`
  })
  return [head, ...lines].join('\n')
}

export function format(value: number): string {
  if (!Number.isFinite(value)) return '-'
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US')
  return Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(Math.abs(value) >= 1 ? 2 : 3)
}
