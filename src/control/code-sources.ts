import { parseDigest, type Artifact, type ArtifactStore, type Digest } from '../domain/artifact.ts'
import type { Clock } from '../domain/clock.ts'
import type { CodeOrigin, CodeSource, OriginAddress, Origins, SourceKind } from '../domain/code-source.ts'
import type { Arch } from '../domain/function.ts'
import { imageText, parseImageReference } from '../domain/image-reference.ts'
import type { Caller } from '../domain/control.ts'
import { AppError, invalid } from '../domain/error.ts'
import { sourceBytesMax } from '../domain/limits.ts'
import type { Logger } from '../domain/logger.ts'
import { SingleFlight } from '../domain/single-flight.ts'
import { parseS3Url, s3Url } from '../domain/storage.ts'
import type { Store } from '../domain/store.ts'
import type { Blobs } from './blobs.ts'
import { parseEndpoint, parseHex, parseHttps, parseRegion } from './code-addresses.ts'
import type { OutsideSecrets } from './outside-secrets.ts'
import { findObject } from './own-storage.ts'

/** Code that no change of its source changes any more. */
export interface PinnedCode {
  readonly digest: Digest
  readonly origin: CodeOrigin | null
}

interface SourceParts {
  readonly store: Store
  readonly secrets: OutsideSecrets
  readonly blobs: Blobs
  readonly artifacts: ArtifactStore
  readonly origins: Origins
  /** What images are wanted for. */
  readonly arch: Arch
  readonly clock: Clock
  readonly logger: Logger
}

const imagesMax = 1_000

type ImageSource = Extract<CodeSource, { image: string }>
type S3Source = Extract<CodeSource, { s3: string }>

/** Turns the source of a deploy into bytes under a digest: fetched by the platform, once for all who ask for the same at the same time. */
export class CodeSources {
  readonly #parts: SourceParts
  readonly #fetching = new SingleFlight<PinnedCode>()
  /** What images of which manifest became, oldest first. By project: who knows a manifest's digest need not have been let to its layers. */
  readonly #images = new Map<string, Digest>()

  constructor(parts: SourceParts) {
    this.#parts = parts
  }

  /** Does `work` with the code, whose bytes stay meanwhile: until a row names them. Throws invalid (naming the field of the source),
   *  forbidden (`storage:read` is missing), not_found (built-in storage), conflict (it changed while it was read), capacity (origin or disk). */
  async using<T>(
    caller: Caller,
    { source, kind }: { source: CodeSource; kind: SourceKind },
    work: (code: PinnedCode) => Promise<T>,
  ): Promise<T> {
    const code = await this.#pin(caller, source, kind)
    return this.#parts.blobs.holding([code.digest], async () => work(code))
  }

  async #pin(caller: Caller, source: CodeSource, kind: SourceKind): Promise<PinnedCode> {
    if ('artifact' in source) return { digest: source.artifact, origin: null }
    const bytesMax = sourceBytesMax(kind)
    if ('image' in source) {
      if (kind !== 'image')
        throw invalid('code.image', source.image, 'left out, unless it is a function with runtime "image"')
      const address = await this.#imageAddress(caller, source)
      return this.#fetch(address, { caller, sha256: null, secret: source.secret ?? null, bytesMax })
    }
    const sha256 = source.sha256 === undefined ? null : parseHex(source.sha256)
    if ('https' in source) return this.#fetch(parseHttps(source.https), { caller, sha256, secret: null, bytesMax })
    const { s3 } = this.#parts.origins
    if (source.endpoint === undefined && s3.endpoint === null)
      return this.#fromStorage(caller, source, { sha256, bytesMax })
    const secret = source.secret ?? (source.endpoint === undefined ? s3.secret : null)
    const address = await this.#s3Address(caller, source, secret)
    return this.#fetch(address, { caller, sha256, secret, bytesMax })
  }

  async #fromStorage(
    caller: Caller,
    source: S3Source,
    { sha256, bytesMax }: { sha256: Digest | null; bytesMax: number },
  ): Promise<PinnedCode> {
    for (const field of ['region', 'secret'] as const)
      if (source[field] !== undefined)
        throw invalid(
          `code.${field}`,
          source[field],
          'left out: s3:// is built-in storage here, unless code.endpoint is given',
        )
    const object = await findObject(this.#parts.store, caller, parseS3Url(source.s3, 'code.s3'))
    const { digest, bytes, etag, versionId } = object
    if (bytes > bytesMax)
      throw invalid('code.s3', `${source.s3} (${bytes} bytes)`, `an object of at most ${bytesMax} bytes`)
    if (sha256 !== null && sha256 !== digest)
      throw invalid('code.sha256', source.sha256, `${digest.slice(7)}, which is what ${source.s3} has`)
    const fetchedAt = this.#parts.clock.nowMs()
    const found = { source: s3Url({ ...object, versionId: null }), endpoint: null, etag, versionId }
    return { digest, origin: { kind: 'storage', ...found, fetchedAt } }
  }

  async #s3Address(caller: Caller, source: S3Source, secret: string | null): Promise<OriginAddress> {
    const { s3 } = this.#parts.origins
    const endpoint = source.endpoint === undefined ? s3.endpoint : parseEndpoint(source.endpoint)
    const isForeign = endpoint !== s3.endpoint
    // The platform's own credentials go to the operator's endpoint alone, and there not for tenants who do not trust each other.
    const signing = { secret, mustHaveSecret: isForeign || s3.mustHaveSecret, endpoint, field: 'code.secret' }
    const credentials = await this.#parts.secrets.s3(caller, signing)
    return {
      kind: 's3',
      ...parseS3Url(source.s3, 'code.s3'),
      source: source.s3,
      endpoint: endpoint ?? '',
      region: source.region === undefined ? s3.region : parseRegion(source.region),
      credentials,
      isForeign,
    }
  }

  async #imageAddress(caller: Caller, { image, secret }: ImageSource): Promise<OriginAddress> {
    const reference = parseImageReference(image, 'code.image')
    const { arch } = this.#parts
    const address = { kind: 'registry', source: imageText(reference), reference, arch } as const
    if (secret === undefined) return { ...address, credentials: null }
    // Passwords may hold colons: tokens of clouds do.
    const value = await this.#parts.secrets.value(caller, secret, 'code.secret')
    const [, user, password] = /^([^:]+):(.+)$/s.exec(value.trim()) ?? []
    if (user === undefined || password === undefined)
      throw invalid('code.secret', secret, 'a secret that holds user:password')
    return { ...address, credentials: { user, password } }
  }

  async #fetch(address: OriginAddress, wanted: Wanted): Promise<PinnedCode> {
    const { caller, secret, sha256, bytesMax } = wanted
    const { credentials: _credentials, ...what } = { credentials: null, ...address }
    const key = JSON.stringify([caller.project, what, secret, sha256, bytesMax])
    return this.#fetching.run(key, async () => this.#fetchOnce(address, wanted))
  }

  async #fetchOnce(address: OriginAddress, { caller, sha256, bytesMax }: Wanted): Promise<PinnedCode> {
    const { blobs, origins, clock, logger } = this.#parts
    const startedMs = clock.monotonicMs()
    const { content, bytes, etag, versionId } = await origins.open(address)
    const { kind, source } = pinnedSource(address, etag)
    const endpoint = address.kind === 's3' ? address.endpoint : null
    const origin = { kind, source, endpoint, etag, versionId, fetchedAt: clock.nowMs() }
    const image = kind === 'registry' ? JSON.stringify([caller.project, etag]) : null
    try {
      const known = await this.#knownImage(image)
      if (known !== null) return { digest: known, origin }
      const expected = { ...(bytes !== null && { bytesExpected: bytes }), ...(sha256 !== null && { expect: sha256 }) }
      const use = async (artifact: Artifact): Promise<Artifact> => {
        // All who wait for this flight come to hold it only when it has landed.
        blobs.uploaded(artifact.digest)
        return artifact
      }
      const { digest, bytes: received } = await blobs.put(content, { ...expected, bytesMax }, use)
      logger.info('code.fetch.done', { source, digest, bytes: received, fetchMs: clock.monotonicMs() - startedMs })
      this.#rememberImage(image, digest)
      return { digest, origin: { ...origin, fetchedAt: clock.nowMs() } }
    } catch (error) {
      throw sha256 === null ? error : explainDigest(error, { source: address.source, sha256 })
    } finally {
      content.destroy()
    }
  }

  /** The bytes of an image whose manifest was fetched before, as long as they are here. */
  async #knownImage(image: string | null): Promise<Digest | null> {
    const digest = image === null ? undefined : this.#images.get(image)
    if (digest === undefined) return null
    this.#parts.blobs.uploaded(digest)
    return (await this.#parts.artifacts.stat(digest)) === null ? null : digest
  }

  #rememberImage(image: string | null, digest: Digest): void {
    if (image === null) return
    this.#images.set(image, digest)
    const [oldest] = this.#images.keys()
    if (this.#images.size > imagesMax && oldest !== undefined) this.#images.delete(oldest)
  }
}

interface Wanted {
  readonly caller: Caller
  /** Of the credentials; null = none, or the platform's own. */
  readonly secret: string | null
  readonly sha256: Digest | null
  readonly bytesMax: number
}

/** As views show it: an image by the manifest that its tag meant. */
function pinnedSource(address: OriginAddress, etag: string | null): Pick<CodeOrigin, 'kind' | 'source'> {
  const { kind, source } = address
  if (kind !== 'registry') return { kind, source }
  return { kind, source: imageText({ ...address.reference, digest: parseDigest(etag ?? '') ?? null }) }
}

/** Bytes of another digest were not uploaded: they are what the source has. */
function explainDigest(error: unknown, { source, sha256 }: { source: string; sha256: Digest }): unknown {
  if (!(error instanceof AppError) || error.field !== 'digest') return error
  const message = `Cannot take the code from ${source}: its bytes have digest "${String(error.value)}", not "${sha256}". Check the address, or the hash.`
  return new AppError('invalid', message, { field: 'code.sha256', value: error.value, allowed: sha256 })
}
