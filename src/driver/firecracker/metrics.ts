/** Counters of what went wrong, by Firecracker's own names for them. */
const troubles = /fail|fault|panic|throttled|_err|abort/
const countersMax = 12

/** Counters above 0 that tell of trouble, as `group.name=n`, from the last whole line of Firecracker's metrics: a JSON object of groups. The VMM may have been
 *  taken over by its guest: anything else gives nothing. Source: Firecracker docs/metrics. */
export function troublesIn(text: string): readonly string[] {
  const line = text.split('\n').findLast((each) => each.startsWith('{') && each.endsWith('}'))
  if (line === undefined) return []
  const found: string[] = []
  for (const [group, counters] of entriesOf(parse(line)))
    for (const [name, value] of entriesOf(counters))
      if (troubles.test(name) && typeof value === 'number' && value > 0) found.push(`${group}.${name}=${value}`)
  return found.slice(0, countersMax).map((each) => each.slice(0, 100))
}

function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === 'object' && value !== null ? Object.entries(value) : []
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return null
  }
}
