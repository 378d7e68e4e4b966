import type { GetObjectCommandOutput } from '@aws-sdk/client-s3'
import type { OriginAddress } from '../domain/code-source.ts'
import { publicLookup, refuseClosedLiteral } from './public-address.ts'
import type { OpenPart, Part } from './resumable.ts'
import { openS3 } from './s3-client.ts'
import { s3Problem } from './s3-problem.ts'
import { changedMeanwhile, refuse, Trouble } from './trouble.ts'
import https from 'node:https'
import { Readable } from 'node:stream'

type S3Address = OriginAddress & { readonly kind: 's3' }

export interface S3Options {
  readonly allowsPrivate: boolean
  readonly answerMs: number
}

/** Opens an object of any S3 server, and the client with it: whoever is through calls `close`. */
export async function s3Opener(address: S3Address, options: S3Options): Promise<{ open: OpenPart; close: () => void }> {
  const isGuarded = address.isForeign && !options.allowsPrivate
  if (isGuarded) refuseForeign(address)
  const { client, sdk } = await openS3(address, {
    answerMs: options.answerMs,
    // Retried by whoever resumes: one place that knows how long.
    attemptsMax: 1,
    ...(isGuarded && { httpsAgent: new https.Agent({ lookup: publicLookup }) }),
  })
  const { bucket: Bucket, key: Key, versionId } = address
  const open: OpenPart = async ({ offset, etag }) => {
    const command = new sdk.GetObjectCommand({
      Bucket,
      Key,
      ...(versionId !== null && { VersionId: versionId }),
      ...(offset > 0 && { Range: `bytes=${offset}-` }),
      ...(offset > 0 && etag !== null && { IfMatch: etag }),
    })
    try {
      return toPart(await client.send(command))
    } catch (error) {
      throw explain(address, error)
    }
  }
  return { open, close: () => client.destroy() }
}

function refuseForeign(address: S3Address): void {
  const url = new URL(address.endpoint)
  if (url.protocol !== 'https:')
    throw refuse(address, `its endpoint ${address.endpoint} is not https`, 'Name an https endpoint.')
  try {
    refuseClosedLiteral(url.hostname)
  } catch (error) {
    throw explain(address, error)
  }
}

function toPart({ Body, ContentRange, ContentLength, ETag, VersionId }: GetObjectCommandOutput): Part {
  if (!(Body instanceof Readable)) throw new Trouble('the answer has no body')
  const [, start, whole] = /^bytes (\d+)-\d+\/(\d+)$/.exec(ContentRange ?? '') ?? []
  return {
    content: Body,
    offset: start === undefined ? 0 : Number(start),
    bytes: whole === undefined ? (ContentLength ?? null) : Number(whole),
    etag: ETag ?? null,
    versionId: VersionId ?? null,
  }
}

function explain(address: S3Address, error: unknown): unknown {
  const found = s3Problem(address, error)
  if (found === null) return error
  if (found.kind === 'changed') return changedMeanwhile(address)
  if (found.kind === 'trouble') return new Trouble(found.problem)
  return refuse(address, found.problem, found.fix)
}
