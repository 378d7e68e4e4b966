/** Percentile `p` (0..1) of `values`, nearest rank; NaN when empty. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? Number.NaN
}

export const median = (values: readonly number[]): number => percentile(values, 0.5)

/** `values` in a random order: what runs next to what must not decide who is faster. */
export function shuffled<T>(values: readonly T[]): T[] {
  return values
    .map((value) => ({ value, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ value }) => value)
}

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
  /** Of the comparison with other systems: how the subject keeps functions apart. */
  readonly isolation?: string
  /** What the medians were taken of, by name, in `unit`; kept in the raw JSON. */
  readonly samples?: Readonly<Record<string, readonly number[]>>
}

export function ratioOf(row: Row): number {
  return row.limit === null ? row.value : row.value / row.limit.value
}

export function verdictOf(row: Row): 'kept' | 'missed' | 'shown' {
  if (row.bound === null) return 'shown'
  const ratio = ratioOf(row)
  return (row.bound.op === '<=' ? ratio <= row.bound.value : ratio >= row.bound.value) ? 'kept' : 'missed'
}
