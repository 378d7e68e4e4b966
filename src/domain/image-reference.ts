import { parseDigest, type Digest } from './artifact.ts'
import { invalid } from './error.ts'

/** An image in a registry, as `docker pull` takes it. */
export interface ImageReference {
  /** Host, and port where one was given; `docker.io` when none was. */
  readonly registry: string
  /** Path of lower-case names; `library/` before those of Docker's own. */
  readonly repository: string
  /** Null = only a digest was given. */
  readonly tag: string | null
  readonly digest: Digest | null
}

const textCharsMax = 512
const nameCharsMax = 255
const hostPattern =
  /^(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})(?:\.[A-Za-z0-9][A-Za-z0-9-]{0,62})*)(?::\d{1,5})?$/
const partPattern = /^[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*$/
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/

/** `[HOST[:PORT]/]REPOSITORY[:TAG][@sha256:DIGEST]`; without a host docker.io, without tag and digest `latest`. What comes before the first slash
 *  is a host when it has a dot or a colon in it, or is `localhost`. Throws invalid. Source: the reference grammar of the OCI distribution specification. */
export function parseImageReference(text: string, field: string): ImageReference {
  const refuse = (allowed: string): Error => invalid(field, text.slice(0, 200), allowed)
  if (text.length > textCharsMax) throw refuse(`at most ${textCharsMax} characters`)
  const at = text.indexOf('@')
  const digest = at < 0 ? null : (parseDigest(text.slice(at + 1)) ?? null)
  if (at >= 0 && digest === null) throw refuse('"@sha256:" and 64 lower-case hex digits after the name')
  const named = at < 0 ? text : text.slice(0, at)
  const { registry, rest } = splitHost(named)
  if (!hostPattern.test(registry) || !URL.canParse(`https://${registry}`))
    throw refuse('an image reference whose registry is HOST or HOST:PORT')
  const [path = '', tag, ...more] = rest.split(':')
  if (more.length > 0 || (tag !== undefined && !tagPattern.test(tag)))
    throw refuse('an image reference whose tag is 1 to 128 letters, digits, "_", "." or "-"')
  const isDocker = registry === 'docker.io'
  const repository = isDocker && !path.includes('/') ? `library/${path}` : path
  if (repository.length > nameCharsMax || !repository.split('/').every((part) => partPattern.test(part)))
    throw refuse('an image reference, e.g. alpine:3.20 or registry.example.com/team/app:v1; names are lower-case')
  return { registry, repository, tag: tag ?? (digest === null ? 'latest' : null), digest }
}

/** In full: what the defaults stood for, spelled out. */
export function imageText({ registry, repository, tag, digest }: ImageReference): string {
  return `${registry}/${repository}${tag === null ? '' : `:${tag}`}${digest === null ? '' : `@${digest}`}`
}

function splitHost(named: string): { registry: string; rest: string } {
  const slash = named.indexOf('/')
  const first = named.slice(0, Math.max(0, slash))
  if (slash < 0 || !(/[.:]/.test(first) || first === 'localhost')) return { registry: 'docker.io', rest: named }
  const registry = first.toLowerCase()
  return { registry: registry === 'index.docker.io' ? 'docker.io' : registry, rest: named.slice(slash + 1) }
}
