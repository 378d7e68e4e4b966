import { parseDigest, type Digest } from '../domain/artifact.ts'
import type { CodeSource } from '../domain/code-source.ts'
import { invalid } from '../domain/error.ts'

/** `CodeSource` of the contract table. */
export interface CodeSourceBody {
  readonly artifact?: string | undefined
  readonly s3?: string | undefined
  readonly https?: string | undefined
  readonly image?: string | undefined
  readonly sha256?: string | undefined
  readonly endpoint?: string | undefined
  readonly region?: string | undefined
  readonly secret?: string | undefined
}

/** Which fields may stand beside the one that names the kind. */
const beside = {
  artifact: [],
  s3: ['sha256', 'endpoint', 'region', 'secret'],
  https: ['sha256'],
  image: ['secret'],
} as const

/** One of the kinds. Throws invalid, naming the field that does not go with the others. */
export function codeSourceOf(body: CodeSourceBody): CodeSource {
  const kinds = (['artifact', 's3', 'https', 'image'] as const).filter((kind) => body[kind] !== undefined)
  const [kind] = kinds
  if (kind === undefined || kinds.length > 1)
    throw invalid('code', kinds.join(', '), 'exactly one of artifact, s3, https and image')
  const others: readonly string[] = beside[kind]
  for (const field of ['sha256', 'endpoint', 'region', 'secret'] as const)
    if (body[field] !== undefined && !others.includes(field))
      throw invalid(`code.${field}`, body[field], leftOut(kind, field))
  const { artifact = '', s3 = '', https = '', image = '', sha256, endpoint, region, secret } = body
  if (kind === 'artifact') return { artifact: artifactOf(artifact) }
  if (kind === 's3')
    return {
      s3,
      ...(sha256 !== undefined && { sha256 }),
      ...(endpoint !== undefined && { endpoint }),
      ...(region !== undefined && { region }),
      ...(secret !== undefined && { secret }),
    }
  if (kind === 'image') return { image, ...(secret !== undefined && { secret }) }
  if (sha256 === undefined) throw invalid('code.sha256', undefined, 'the hex SHA-256 of what the address serves')
  return { https, sha256 }
}

function leftOut(kind: string, field: string): string {
  if (kind === 'image' && field === 'sha256') return 'left out with image: pin it as REPOSITORY@sha256:DIGEST'
  return `left out with ${kind}`
}

export function artifactOf(text: string): Digest {
  const digest = parseDigest(text.startsWith('sha256:') ? text : `sha256:${text}`)
  if (digest === undefined) throw invalid('artifact', text, '"sha256:" and 64 hex digits')
  return digest
}
