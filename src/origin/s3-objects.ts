import type { Clock } from '../domain/clock.ts'
import type { Origins, S3Credentials } from '../domain/code-source.ts'
import { AppError, invalid } from '../domain/error.ts'
import type { ObjectServer } from '../domain/object-server.ts'
import type { BucketFacts, ObjectFacts, ObjectRef } from '../domain/storage.ts'
import type { Page, PageRequest } from '../domain/store.ts'
import { answerMsOf, type Patience } from './resumable.ts'
import { openS3 } from './s3-client.ts'
import { bucketFacts, objectFacts, toKey } from './s3-facts.ts'
import { failing, s3Failure, type S3Deed } from './s3-failure.ts'
import { statusOf } from './s3-problem.ts'
import { connectionProblem, cutWords, Trouble } from './trouble.ts'
import { Upload } from './upload.ts'
import { Readable } from 'node:stream'

export interface ObjectServerOptions {
  readonly s3: Pick<Origins['s3'], 'endpoint' | 'region'>
  readonly patience: Patience
  readonly clock: Clock
}

type Credentials = S3Credentials | null
type Opened = Awaited<ReturnType<typeof openS3>>
type At = Pick<ObjectRef, 'bucket' | 'key'>

/** The other end may be slower than who waits here: clients of the API that stand still are cut before. */
const idleMs = 90_000
/** What is asked once and answered at once is asked again when the answer is that the server is busy, or none. */
const attemptsMax = 3
/** As many as S3 gives at once. */
const versionsMax = 1_000

/** Objects of the operator's S3 server; null without one. */
export function openObjectServer({ s3, patience, clock }: ObjectServerOptions): ObjectServer | null {
  const { endpoint, region } = s3
  return endpoint === null ? null : new S3Objects({ endpoint, region, answerMs: answerMsOf(patience), clock })
}

interface ServerOptions {
  readonly endpoint: string
  readonly region: string
  readonly answerMs: number
  readonly clock: Clock
}

class S3Objects implements ObjectServer {
  readonly #options: ServerOptions

  constructor(options: ServerOptions) {
    this.#options = options
  }

  async put(credentials: Credentials, { bucket, key }: At, { content, bytes }: { content: Readable; bytes: number }) {
    const deed = this.#deed('store', { bucket, key, versionId: null })
    const { client, sdk } = await this.#open(credentials, 1)
    // Last of what is taken, so that its undo comes first: nothing may still read from `content` when the caller has it back.
    const upload = new Upload(content)
    try {
      const about = { Bucket: bucket, Key: key, Body: upload.body, ContentLength: bytes }
      // As long as it moves.
      const sending = { abortSignal: upload.broken, requestTimeout: 0 }
      const reply = await client.send(new sdk.PutObjectCommand(about), sending)
      const { digest } = upload
      if (digest === null) throw new Trouble('the endpoint answered before it had all the bytes')
      const said = { ContentLength: bytes, LastModified: new Date(this.#options.clock.nowMs()) }
      return { ...objectFacts({ bucket, key }, { ...reply, ...said }), digest }
    } catch (error) {
      throw upload.problem(failing(deed)) ?? (await this.#refusal(credentials, deed, error)) ?? s3Failure(deed, error)
    } finally {
      upload.release()
      client.destroy()
    }
  }

  async stat(credentials: Credentials, ref: ObjectRef): Promise<ObjectFacts> {
    return this.#ask(credentials, this.#deed('read', ref), async ({ client, sdk }, abort) =>
      objectFacts(ref, await client.send(new sdk.HeadObjectCommand(named(ref)), abort)),
    )
  }

  async open(credentials: Credentials, ref: ObjectRef): Promise<{ object: ObjectFacts; content: Readable }> {
    const deed = this.#deed('read', ref)
    const { client, sdk } = await this.#open(credentials, attemptsMax)
    try {
      const reply = await client.send(new sdk.GetObjectCommand(named(ref)))
      const { Body: body } = reply
      if (!(body instanceof Readable)) throw new Trouble('the answer has no body')
      const object = objectFacts(ref, reply)
      const content = Readable.from(explained(body, deed), { objectMode: false })
      // Also where nobody reads it.
      content.once('close', () => client.destroy())
      return { object, content }
    } catch (error) {
      client.destroy()
      throw s3Failure(deed, error)
    }
  }

  async list(
    credentials: Credentials,
    { bucket, prefix }: { bucket: string; prefix: string },
    { limit, cursor }: PageRequest,
  ): Promise<Page<ObjectFacts>> {
    return this.#ask(credentials, this.#deed('list', bucket), async ({ client, sdk }, abort) => {
      let token = cursor
      for (;;) {
        const about = { Bucket: bucket, Prefix: prefix, MaxKeys: limit, EncodingType: 'url' } as const
        const asked = new sdk.ListObjectsV2Command({ ...about, ContinuationToken: token })
        const reply = await client.send(asked, abort).catch((error: unknown) => {
          if (token === undefined || !(error instanceof Error) || error.name !== 'InvalidArgument') throw error
          throw invalid('cursor', token, 'the nextCursor of the page before, from the same list')
        })
        const { Name, Contents = [], EncodingType, IsTruncated, NextContinuationToken } = reply
        if (Name === undefined) throw new Error('the list has no name')
        const items = Contents.map((each) =>
          objectFacts({ bucket, key: toKey(each.Key, EncodingType) }, { ...each, ContentLength: each.Size }),
        )
        const next = IsTruncated === true && NextContinuationToken !== '' ? (NextContinuationToken ?? null) : null
        // A page may come empty before the end, of what was deleted.
        if (items.length > 0 || next === null) return { items, nextCursor: next }
        token = next
      }
    })
  }

  async versions(credentials: Credentials, { bucket, key }: At): Promise<readonly ObjectFacts[]> {
    const ref = { bucket, key, versionId: null }
    return this.#ask(credentials, this.#deed('list', bucket), async ({ client, sdk }, abort) => {
      try {
        // The object's own are first of what begins with its key.
        const about = { Bucket: bucket, Prefix: key, MaxKeys: versionsMax, EncodingType: 'url' } as const
        const { Versions = [], EncodingType } = await client.send(new sdk.ListObjectVersionsCommand(about), abort)
        return Versions.filter((each) => toKey(each.Key, EncodingType) === key).map((each) =>
          objectFacts(ref, { ...each, ContentLength: each.Size }),
        )
      } catch (error) {
        if (!(error instanceof Error) || statusOf(error) !== 501) throw error
      }
      const found = await client.send(new sdk.HeadObjectCommand(named(ref)), abort).catch(unlessAbsent)
      return found === null ? [] : [objectFacts(ref, found)]
    })
  }

  async buckets(credentials: Credentials): Promise<readonly BucketFacts[]> {
    return this.#ask(credentials, this.#deed('list', null), async ({ client, sdk }, abort) =>
      ((await client.send(new sdk.ListBucketsCommand({}), abort)).Buckets ?? []).map(bucketFacts),
    )
  }

  async delete(credentials: Credentials, ref: ObjectRef): Promise<void> {
    await this.#ask(credentials, this.#deed('delete', ref), async ({ client, sdk }, abort) => {
      // S3 is content to delete what is not there; who has mistyped a key is not. Whoever may not look may delete.
      const looked = await client.send(new sdk.HeadObjectCommand(named(ref)), abort).catch((error: unknown) => error)
      if (looked instanceof Error && [0, 404].includes(statusOf(looked))) throw looked
      await client.send(new sdk.DeleteObjectCommand(named(ref)), abort)
    })
  }

  /** A server that refuses while bytes still come may cut the connection before its answer is read: what it refuses, it refuses without bytes as
   *  well. Null when it does not. */
  async #refusal(credentials: Credentials, deed: S3Deed, error: unknown): Promise<AppError | null> {
    const { what } = deed
    if (connectionProblem(error) !== cutWords || what === null || typeof what !== 'object') return null
    try {
      await this.#ask(credentials, deed, async ({ client, sdk }, abort) => {
        const about = { Bucket: what.bucket, Prefix: what.key, MaxKeys: 1 }
        await client.send(new sdk.ListObjectsV2Command(about), abort)
      })
      return null
    } catch (refusal) {
      // Whoever may not list may well store.
      const isOfLists =
        refusal instanceof AppError && refusal.cause instanceof Error && refusal.cause.name === 'AccessDenied'
      return refusal instanceof AppError && refusal.code !== 'capacity' && !isOfLists ? refusal : null
    }
  }

  #deed(verb: S3Deed['verb'], what: S3Deed['what']): S3Deed {
    return { verb, what, server: this.#options }
  }

  /** A client for one call, as each may come with credentials of its own. That costs 1.5 ms of work (measured with a server on the same machine), a
   *  new connection, and, where the platform's own credentials come from the instance's role, asking for them: little beside what an object takes.
   *  Next step, were small objects many: one client kept for the platform's own. */
  async #open(credentials: Credentials, attempts: number): Promise<Opened> {
    const { endpoint, region, answerMs } = this.#options
    return openS3({ endpoint, region, credentials }, { answerMs, idleMs, attemptsMax: attempts })
  }

  /** For what is small: all of it is over soon, whatever the server does. */
  async #ask<T>(
    credentials: Credentials,
    deed: S3Deed,
    work: (opened: Opened, abort: { abortSignal: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    const { clock, answerMs } = this.#options
    const opened = await this.#open(credentials, attemptsMax)
    const late = new AbortController()
    const timer = clock.schedule(attemptsMax * answerMs, () => late.abort())
    try {
      return await work(opened, { abortSignal: late.signal })
    } catch (error) {
      throw s3Failure(deed, late.signal.aborted ? new Trouble('the endpoint does not answer') : error)
    } finally {
      timer.cancel()
      opened.client.destroy()
    }
  }
}

function named({ bucket, key, versionId }: ObjectRef): { Bucket: string; Key: string; VersionId?: string } {
  return { Bucket: bucket, Key: key, ...(versionId !== null && { VersionId: versionId }) }
}

async function* explained(body: Readable, deed: S3Deed): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of body) yield chunk
  } catch (error) {
    throw s3Failure(deed, error)
  }
}

function unlessAbsent(error: unknown): null {
  if (error instanceof Error && statusOf(error) === 404) return null
  throw error
}
