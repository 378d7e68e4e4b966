/** How a server wants to be shown who asks. */
export interface Challenge {
  /** In lower case. */
  readonly scheme: string
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>
}

const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const parameterPattern = new RegExp(`(${token})[ \\t]*=[ \\t]*(?:"((?:[^"\\\\]|\\\\.)*)"|(${token}))`, 'y')
const schemePattern = new RegExp(`(${token})(?:[ \\t]+|$|(?=,))`, 'y')
const separatorPattern = /[ \t,]*/y

/** The challenges of a WWW-Authenticate header, several in one line or not; what is malformed ends the list. Source: RFC 9110, 11.6.1. */
export function parseChallenges(header: string): Challenge[] {
  const found: { scheme: string; parameters: Map<string, string> }[] = []
  let at = 0
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at
    const match = pattern.exec(header)
    if (match !== null) at = pattern.lastIndex
    return match
  }
  while (at < header.length) {
    take(separatorPattern)
    const parameter = take(parameterPattern)
    const current = found.at(-1)
    if (parameter !== null && current !== undefined) {
      const [, name = '', quoted, bare = ''] = parameter
      current.parameters.set(name.toLowerCase(), quoted?.replaceAll(/\\(.)/g, '$1') ?? bare)
      continue
    }
    const scheme = parameter === null ? take(schemePattern) : null
    if (scheme === null) break
    found.push({ scheme: (scheme[1] ?? '').toLowerCase(), parameters: new Map() })
  }
  return found
}
