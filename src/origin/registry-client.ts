import type { Digest } from '../domain/artifact.ts'
import type { Clock } from '../domain/clock.ts'
import type { OriginContent } from '../domain/code-source.ts'
import type { Logger } from '../domain/logger.ts'
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { imageTypes, indexTypes } from './image-manifest.ts'
import { RegistryAuth, type RegistryAddress } from './registry-auth.ts'
import { openResumable, type OpenPart, type Patience } from './resumable.ts'
import { collect, collectSoon, isObject, jsonObject } from './small-body.ts'
import { changedMeanwhile, refuse, Trouble } from './trouble.ts'
import {
  askWeb,
  isPassing,
  partOf,
  redirectsMax,
  redirectStatuses,
  redirectTarget,
  type WebGuard,
} from './web-request.ts'

export interface RegistryOptions {
  readonly address: RegistryAddress
  readonly guard: WebGuard
  /** `totalMs` is for all that is asked of this client. */
  readonly patience: Patience
  readonly clock: Clock
  readonly logger: Logger
}

/** Content as a manifest names it. */
export interface Descriptor {
  readonly mediaType: string
  readonly digest: Digest
  readonly bytes: number
}

export interface RawManifest {
  readonly content: Buffer
  /** Of the content, computed here. */
  readonly digest: Digest
  readonly contentType: string | null
}

/** Manifests and configurations are read into memory: the distribution specification's own bound. */
export const documentBytesMax = 4 * 2 ** 20

const manifestTypes = [...imageTypes, ...indexTypes].join(', ')

/** One repository of a registry, by the OCI distribution API. What its server names is refused or followed by the rules of the web; what breaks off goes on where
 *  it was. Methods throw invalid, conflict, capacity. Source: OCI distribution specification 1.1. */
export class RegistryClient {
  readonly #options: RegistryOptions
  readonly #auth: RegistryAuth
  readonly #base: URL
  readonly #untilMs: number

  constructor(options: RegistryOptions) {
    const { address, patience, clock } = options
    const { registry, repository } = address.reference
    // Docker's own lives at another name than it has.
    const host = registry === 'docker.io' ? 'registry-1.docker.io' : registry
    const isPlain = options.guard.plainHosts.has(new URL(`http://${host}`).host)
    // Nobody on the internet leads to the operator's own.
    const guard = isPlain ? options.guard : { ...options.guard, plainHosts: new Set<string>() }
    this.#options = { ...options, guard }
    this.#auth = new RegistryAuth(address, guard)
    this.#base = new URL(`${isPlain ? 'http' : 'https'}://${host}/v2/${repository}/`)
    this.#untilMs = clock.monotonicMs() + patience.totalMs
  }

  /** By tag or digest; whether it is what was asked for is the caller's to see. */
  async manifest(name: string): Promise<RawManifest> {
    let contentType: string | null = null
    const { content } = await this.#resumable(async ({ offset }) => {
      const reply = await this.#get(`manifests/${name}`, { accept: manifestTypes, ...rangeFrom(offset) })
      if (reply.statusCode !== 200 && reply.statusCode !== 206) throw await this.#explain(reply, `manifest "${name}"`)
      contentType = reply.headers['content-type']?.split(';')[0]?.trim() ?? null
      const etag = reply.headers['docker-content-digest']
      return { content: reply, ...partOf(reply), etag: etag === undefined ? null : String(etag), versionId: null }
    })
    const found = await collect(content, documentBytesMax)
    if (found === null) throw this.#tooLarge(`the manifest "${name}"`)
    return { content: found, digest: digestOf(found), contentType }
  }

  /** A blob whole; throws invalid when it is not what its descriptor says. */
  async document(descriptor: Descriptor): Promise<Buffer> {
    const { digest, bytes } = descriptor
    if (bytes > documentBytesMax) throw this.#tooLarge(`the configuration ${digest}`)
    const found = await collect(await this.blob(descriptor), bytes)
    if (found === null || found.length !== bytes) throw this.otherSize(descriptor, found?.length ?? bytes + 1)
    const actual = digestOf(found)
    if (actual !== digest) throw this.otherBytes(descriptor, actual)
    return found
  }

  /** A blob as it comes: neither its length nor its digest is checked yet. */
  async blob(descriptor: Descriptor): Promise<OriginContent['content']> {
    const { digest, bytes } = descriptor
    const { content } = await this.#resumable(async ({ offset }) => {
      const reply = await this.#get(`blobs/${digest}`, { accept: '*/*', ...rangeFrom(offset) })
      if (reply.statusCode !== 200 && reply.statusCode !== 206) throw await this.#explain(reply, `blob "${digest}"`)
      const part = partOf(reply)
      if (part.bytes !== null && part.bytes !== bytes) {
        reply.destroy()
        throw this.otherSize(descriptor, part.bytes)
      }
      // Its name is its content: no other tag is needed to know that it is the same.
      return { content: reply, offset: part.offset, bytes, etag: digest, versionId: null }
    })
    return content
  }

  otherBytes({ digest }: Descriptor, actual: Digest): Error {
    return refuse(
      this.#options.address,
      `what the registry gives as "${digest}" has digest "${actual}"`,
      'Push the image again: its registry is damaged, or lies.',
    )
  }

  otherSize({ digest, bytes }: Descriptor, actual: number): Error {
    return refuse(
      this.#options.address,
      `what the registry gives as "${digest}" has ${actual} bytes, not the ${bytes} that its manifest says`,
      'Push the image again: its registry is damaged, or lies.',
    )
  }

  #tooLarge(what: string): Error {
    return refuse(this.#options.address, `${what} is larger than ${documentBytesMax} bytes`, 'Make a smaller one.')
  }

  async #resumable(open: OpenPart): Promise<OriginContent> {
    const { address, patience, clock, logger } = this.#options
    const totalMs = Math.max(1, this.#untilMs - clock.monotonicMs())
    return openResumable({ address, open, patience: { ...patience, totalMs }, clock, logger })
  }

  /** The answer, wherever it is redirected to: who asks is told to the registry alone. */
  async #get(path: string, headers: Readonly<Record<string, string>>): Promise<IncomingMessage> {
    const { address, guard } = this.#options
    let url = new URL(path, this.#base)
    let isHome = true
    let isRenewed = false
    for (let hop = 0; hop <= redirectsMax;) {
      const reply = await askWeb(address, { url, headers: { ...headers, ...(isHome && this.#auth.headers) } }, guard)
      if (isHome && reply.statusCode === 401 && !isRenewed) {
        reply.destroy()
        await this.#auth.renew(reply.headers['www-authenticate'])
        isRenewed = true
        continue
      }
      if (!redirectStatuses.includes(reply.statusCode ?? 0)) return reply
      reply.destroy()
      url = redirectTarget(address, reply, url)
      isHome &&= url.origin === this.#base.origin
      hop++
    }
    throw refuse(address, `it redirects more than ${redirectsMax} times`, 'Check the registry.')
  }

  async #explain(reply: IncomingMessage, what: string): Promise<Error> {
    const { address, guard } = this.#options
    const { registry, repository } = address.reference
    const { statusCode = 0 } = reply
    const code = errorCode(
      await collectSoon(reply, { bytesMax: 64 * 1024, timeoutMs: guard.answerMs }).catch(() => null),
    )
    const answer = `${statusCode}${code === null ? '' : ` ${code}`}`
    if (isPassing(statusCode)) return new Trouble(`the registry answers ${answer}`)
    if (statusCode === 416) return changedMeanwhile(address)
    if (statusCode === 401 || statusCode === 403) return this.#auth.refusal(answer)
    if (statusCode === 404)
      return refuse(
        address,
        `${registry} has no ${what} in "${repository}" (${answer})`,
        'Check the name and the tag, or push the image again.',
      )
    return refuse(address, `the registry answers ${answer}`, 'Check the address of the registry.')
  }
}

export function digestOf(content: Uint8Array): Digest {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`
}

function rangeFrom(offset: number): Record<string, string> {
  return offset > 0 ? { range: `bytes=${offset}-` } : {}
}

/** `{"errors":[{"code":"MANIFEST_UNKNOWN", ..}]}`; anything else has none. */
function errorCode(body: Buffer | null): string | null {
  const errors = jsonObject(body)?.['errors']
  const first: unknown = Array.isArray(errors) ? errors[0] : null
  const code = isObject(first) ? first['code'] : null
  return typeof code === 'string' && /^[A-Z_]{1,64}$/.test(code) ? code : null
}
