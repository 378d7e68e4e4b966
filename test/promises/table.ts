import { ratioOf, verdictOf, type Row } from './measure.ts'

/** Rows as Markdown: promises, then the comparison with other systems in a table of its own. */
export function table(rows: readonly Row[]): string {
  const promises = rows.filter((row) => row.isolation === undefined)
  const rivals = rows.filter((row) => row.isolation !== undefined)
  const tables = [
    ...(promises.length > 0 ? [markdown(promises.map(promiseCells))] : []),
    ...(rivals.length > 0 ? [markdown(rivals.map(rivalCells))] : []),
  ]
  return tables.join('\n\n')
}

type Cells = Readonly<Record<string, string>>

function promiseCells(row: Row): Cells {
  return {
    id: row.promise,
    subject: row.subject,
    measured: `${format(row.value)} ${row.unit}`,
    'limit in the same run': row.limit === null ? '-' : `${row.limit.what}: ${format(row.limit.value)} ${row.unit}`,
    ratio: row.limit === null ? '-' : `${format(ratioOf(row))}x`,
    promise:
      row.bound === null ? '-' : `${row.bound.op} ${row.bound.value}${row.limit === null ? ` ${row.unit}` : 'x'}`,
    verdict: verdictOf(row),
    note: row.note,
  }
}

function rivalCells(row: Row): Cells {
  const verdict = { kept: 'Hearth leads', missed: 'lost', shown: '-' }[verdictOf(row)]
  return {
    system: row.subject,
    isolation: row.isolation ?? '',
    measured: `${format(row.value)} ${row.unit}`,
    Hearth: row.limit === null ? '-' : `${format(row.limit.value)} ${row.unit}`,
    verdict,
    note: row.note,
  }
}

function markdown(rows: readonly Cells[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const names = Object.keys(rows[0] ?? {})
  return [line(names), line(names.map(() => '---')), ...rows.map((row) => line(Object.values(row)))].join('\n')
}

function format(value: number): string {
  if (!Number.isFinite(value)) return '-'
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US')
  return Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(Math.abs(value) >= 1 ? 2 : 3)
}
