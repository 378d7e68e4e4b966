import type { StoredObject as ObjectJson } from '@hearth/sdk'
import { pipeline } from 'node:stream/promises'
import type { Control } from '../domain/control.ts'
import type { ObjectFacts, ObjectRef } from '../domain/storage.ts'
import { contentLength, page, streamed, type Call, type HandlersOf } from './call.ts'

/** Storage's rows of the contract table bound to the control. */
export function storageHandlers({
  storage,
}: Control): HandlersOf<
  'listBuckets' | 'listObjects' | 'listObjectVersions' | 'putObject' | 'getObject' | 'deleteObject'
> {
  return {
    listBuckets: async ({ caller }) => ({
      items: (await storage.buckets(caller)).map(({ name, createdAt }) => ({ name, createdAt })),
    }),
    listObjects: async (call) => {
      const { prefix } = call.query
      const of = { bucket: call.params['bucket'] ?? '', prefix: typeof prefix === 'string' ? prefix : '' }
      const { items, nextCursor } = await storage.list(call.caller, of, page(call))
      return { items: items.map(objectJson), nextCursor }
    },
    listObjectVersions: async (call) => ({
      items: (await storage.versions(call.caller, refOf(call))).map(objectJson),
    }),
    putObject: async (call) => {
      const input = { source: call.raw.content, bytesExpected: contentLength(call) }
      return objectJson(await storage.put(call.caller, refOf(call), input))
    },
    getObject: async (call) => sendObject(storage, call),
    deleteObject: async (call) => storage.delete(call.caller, refOf(call)),
  }
}

/** The content comes from strangers and the origin is the API's: nothing a browser would run or show. */
const inert = {
  'content-type': 'application/octet-stream',
  'content-disposition': 'attachment',
  'x-content-type-options': 'nosniff',
}

async function sendObject(storage: Control['storage'], call: Call): Promise<typeof streamed> {
  const { request, response } = call.raw
  const isHead = request.method === 'HEAD'
  const { object, content } = isHead
    ? { object: await storage.stat(call.caller, refOf(call)), content: null }
    : await storage.open(call.caller, refOf(call))
  response.writeHead(200, {
    ...inert,
    'content-length': object.bytes,
    etag: `"${object.etag}"`,
    ...(object.versionId !== null && { 'hearth-version-id': object.versionId }),
    'last-modified': new Date(object.createdAt).toUTCString(),
  })
  if (content === null) response.end()
  // Bytes that are damaged: the connection is cut short of its length, and the operator told. A client that goes is no news.
  else
    void pipeline(content, response).catch((error: unknown) => {
      if (!response.destroyed || !isPrematureClose(error)) call.onLateError(error)
    })
  return streamed
}

function refOf({ params, query }: Call): ObjectRef {
  const { versionId } = query
  return {
    bucket: params['bucket'] ?? '',
    key: params['key'] ?? '',
    versionId: typeof versionId === 'string' ? versionId : null,
  }
}

function objectJson({ bucket, key, versionId, digest, bytes, etag, createdAt }: ObjectFacts): ObjectJson {
  return { bucket, key, versionId, digest, bytes, etag, createdAt }
}

function isPrematureClose(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ERR_STREAM_PREMATURE_CLOSE'
}
