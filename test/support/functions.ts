import { createHash } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { ZipFile } from 'yazl'
import type { Digest } from '../../src/domain/artifact.ts'

/** Where a test's requests go. */
export interface Target {
  readonly url: string
  readonly apiKey: string
}

export interface Deployment {
  readonly name: string
  readonly runtime: string
  readonly handler: string
  readonly files: Readonly<Record<string, string | Buffer>>
  /** Further fields of `POST /v1/functions`, e.g. `memoryMib`. */
  readonly config?: Readonly<Record<string, unknown>>
}

/** A function in Node whose code is one file. */
export function nodeFunction(name: string, code: string, config: Deployment['config'] = {}): Deployment {
  return { name, runtime: 'node', handler: 'index.handler', files: { 'index.js': code }, config }
}

export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly body: Buffer
  /** Body as JSON; throws when it is not. */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller says what it expects, as with fetch
  json<T = Record<string, unknown>>(): T
}

/** A zip of `files` with fixed times, so that equal input gives equal bytes; what lies in `bin/` can be run. */
export async function zipOf(files: Readonly<Record<string, string | Buffer>>): Promise<Buffer> {
  const zip = new ZipFile()
  for (const [name, content] of Object.entries(files))
    zip.addBuffer(Buffer.from(content), name, {
      mtime: new Date(Date.UTC(2026, 0, 1)),
      mode: name.startsWith('bin/') ? 0o100755 : 0o100644,
    })
  zip.end()
  return buffer(zip.outputStream)
}

/** One API call with the target's key. `body` that is not a Buffer is sent as JSON. */
export async function call(
  target: Target,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Reply> {
  const raw = Buffer.isBuffer(body)
  const init: RequestInit = {
    method,
    headers: {
      authorization: `Bearer ${target.apiKey}`,
      ...(body === undefined || raw ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
  }
  if (body !== undefined) init.body = raw ? new Uint8Array(body) : JSON.stringify(body)
  const reply = await fetch(`${target.url}${path}`, init)
  const bytes = Buffer.from(await reply.arrayBuffer())
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as in Reply
  const json = <T>(): T => JSON.parse(bytes.toString()) as T
  return { status: reply.status, headers: reply.headers, body: bytes, json }
}

/** Uploads the files and creates the function; throws with the server's own words when either is refused. */
export async function deployFiles(target: Target, spec: Deployment): Promise<void> {
  const artifact = await upload(target, await zipOf(spec.files))
  const { name, runtime, handler } = spec
  await expectOk(
    call(target, 'POST', '/v1/functions', { name, runtime, handler, code: { artifact }, ...spec.config }),
    `create ${name}`,
  )
}

/** Uploads the files and makes a new version of the function from them. */
export async function updateFiles(
  target: Target,
  { name, files, config }: Pick<Deployment, 'name' | 'files' | 'config'>,
): Promise<void> {
  const artifact = await upload(target, await zipOf(files))
  await expectOk(call(target, 'PATCH', `/v1/functions/${name}`, { code: { artifact }, ...config }), `update ${name}`)
}

/** Uploads bytes under their digest; returns `sha256:...`. */
export async function upload(target: Target, bytes: Buffer): Promise<Digest> {
  const hex = createHash('sha256').update(bytes).digest('hex')
  await expectOk(
    call(target, 'PUT', `/v1/artifacts/${hex}`, bytes, { 'content-type': 'application/octet-stream' }),
    'upload',
  )
  return `sha256:${hex}`
}

export async function invoke(
  target: Target,
  name: string,
  event: unknown = {},
  headers: Record<string, string> = {},
): Promise<Reply> {
  return call(target, 'POST', `/v1/functions/${name}/invoke`, event, headers)
}

async function expectOk(reply: Promise<Reply>, what: string): Promise<void> {
  const { status, body } = await reply
  if (status >= 300) throw new Error(`Cannot ${what}: ${status} ${body.toString()}`)
}
