import { nearest } from '../domain/nearest.ts'
import { isProvided, runtimeFamilies, runtimeIdOf, runtimeIds, type RuntimeBuild } from '../domain/runtime.ts'

/* What a user calls a runtime, and what to say where the name means none. */

/** What a node has. */
export interface KnownRuntimes {
  readonly list: readonly RuntimeBuild[]
  /** Of Go and Rust, those with a compiler here. */
  readonly lines: readonly string[]
}

/** AWS's `nodejs24.x` in Hearth's words; every other name as it is. */
export function ownName(name: string): string {
  return name.replace(/^nodejs(\d+)(\.x)?$/, 'node$1')
}

/** Whether a line of Go or Rust is one: of the list, or of `lines`, those with a compiler here. Of any other nobody can say that it exists. */
export function isKnownLine(id: string, lines: readonly string[]): boolean {
  return runtimeIds.some((known) => known === id) || lines.includes(id)
}

/** Why `name` means nothing on a node that has `known`: what to do about it, and the nearest name that works. */
export function refusalOf(name: string, known: KnownRuntimes): string {
  const { list, lines } = known
  const wanted = ownName(name)
  const isName = isKnownLine(wanted, lines) && runtimeIdOf(wanted) !== null
  const isOne = isName || runtimeFamilies.some((family) => family === wanted)
  return isOne ? notInstalled(wanted, list) : `Unknown runtime "${name}"${hint(wanted, known)}`
}

function notInstalled(id: string, list: readonly RuntimeBuild[]): string {
  if (isProvided(id)) return `Runtime "${id}" needs the sandbox program, which is not built here: run "npm run setup".`
  const family = id.startsWith('node') ? 'node' : 'python'
  const near = list.filter((build) => build.family === family).map((build) => build.id)
  const how =
    family === 'node'
      ? `Install it with \`hearth runtime install ${id}\``
      : `Install ${id} on this machine (package, pyenv or uv) and start Hearth again`
  const instead = near.length === 0 ? '' : `, or take "${nearestNumber(id, near)}". Installed: ${near.join(', ')}`
  return `Runtime "${id}" is not installed on this node. ${how}${instead}.`
}

/** The end of "Unknown runtime X", from its first punctuation on. */
function hint(name: string, { list, lines }: KnownRuntimes): string {
  const [, language] = /^(node|python|go|rust)\d/.exec(name) ?? []
  if (name === 'go1.x')
    return ': it has ended on AWS. Take "go" for a source, or "provided.al2023" for a program that is built.'
  if (language === 'go' || language === 'rust') {
    const known = [...new Set([...runtimeIds, ...lines])].filter((id) => id.startsWith(`${language}1.`))
    return `: known are ${known.join(', ')}. The nearest is "${nearestNumber(name, known)}"; "${language}" is the newest of this machine.`
  }
  if (language !== undefined) {
    const known = runtimeIds.filter((id) => id.startsWith(language))
    const here = list.map(({ id }) => id).filter((id) => id.startsWith(language))
    const instead = here.length === 0 ? '' : ` The nearest here is "${nearestNumber(name, here)}".`
    return `: ${known[0]} to ${known.at(-1)} are known.${instead}`
  }
  if (/^(java|dotnet|ruby|php)/.test(name))
    return ': Hearth has none of its own for this language. Take "provided.al2023" with a bootstrap, or "http" with a server, that brings its own.'
  return nearestText(name, list)
}

function nearestText(name: string, list: readonly RuntimeBuild[]): string {
  const hasProvided = list.some(({ family }) => family === 'provided')
  const others = hasProvided ? runtimeIds.filter((id) => isProvided(id) && !/\d\./.test(id)) : []
  const names = [...new Set([...runtimeFamilies, ...list.map(({ id }) => id), ...others])]
  const meant = nearest(name, names)
  return meant === undefined ? `. Here are ${names.join(', ')}.` : `. Did you mean "${meant}"?`
}

/** Of `ids` of one family the one whose version is nearest; of two that are equally far the newer. */
function nearestNumber(name: string, ids: readonly string[]): string {
  const number = (id: string): number => {
    const [major = 0, minor = 0] = (/\d+(\.\d+)?/.exec(id)?.[0] ?? '').split('.').map(Number)
    return major * 1_000 + minor
  }
  const wanted = number(name)
  const far = (id: string): number => Math.abs(number(id) - wanted) - (number(id) > wanted ? 0.5 : 0)
  return ids.toSorted((a, b) => far(a) - far(b))[0] ?? ''
}
