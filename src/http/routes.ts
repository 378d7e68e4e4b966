import { openapi, routes, type RouteId } from '@hearth/sdk'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import type { Digest } from '../domain/artifact.ts'
import { parseDigest } from '../domain/artifact.ts'
import type { Caller, Control, UpdateFunction } from '../domain/control.ts'
import { AppError, invalid } from '../domain/error.ts'
import { streamLogs } from './log-stream.ts'
import { aliasJson, functionJson, receiptJson, versionJson } from './views.ts'

/** One call, parsed by the contract table. */
export interface Call<Id extends RouteId = RouteId> {
  readonly id: Id
  readonly caller: Caller
  readonly params: Readonly<Record<string, string>>
  readonly query: Readonly<Record<string, unknown>>
  readonly body: unknown
  readonly raw: { readonly request: IncomingMessage; readonly response: ServerResponse; readonly content: Readable }
}

/** Answers a call with the JSON of its reply; `streamed` has answered by itself. */
export type Handler = (call: Call) => Promise<unknown>
export const streamed = Symbol('streamed')

type Handlers = Readonly<Record<Exclude<RouteId, 'invoke'>, Handler>>

const tailDefault = 50

/** The contract table bound to the control; scopes are checked there. */
export function handlers(control: Control, version: string): Handlers {
  const name = (call: Call): string => call.params['name'] ?? ''
  const page = ({ query }: Call): { limit: number; cursor?: string } => ({
    limit: typeof query['limit'] === 'number' ? query['limit'] : 50,
    ...(typeof query['cursor'] === 'string' && { cursor: query['cursor'] }),
  })
  const document = openapi(version)
  return {
    createFunction: async ({ caller, body }) => {
      const { name: functionName, code, ...config } = body as CreateBody
      return functionJson(
        await control.functions.create(caller, {
          name: functionName,
          code: { artifact: artifactOf(code.artifact) },
          config: config as never,
        }),
      )
    },
    listFunctions: async (call) => {
      const { items, nextCursor } = await control.functions.list(call.caller, page(call))
      return { items: items.map(functionJson), nextCursor }
    },
    getFunction: async (call) => functionJson(await control.functions.get(call.caller, name(call))),
    updateFunction: async (call) => {
      const { code, ...config } = call.body as Partial<CreateBody>
      const input: UpdateFunction = {
        config: config as never,
        ...(code !== undefined && { code: { artifact: artifactOf(code.artifact) } }),
      }
      return functionJson(await control.functions.update(call.caller, name(call), input))
    },
    deleteFunction: async (call) => control.functions.delete(call.caller, name(call)),
    putFunctionCode: async (call) => {
      const { digest } = await control.artifacts.put(call.caller, call.raw.content, null)
      return functionJson(await control.functions.update(call.caller, name(call), { code: { artifact: digest } }))
    },
    listVersions: async (call) => {
      const { items, nextCursor } = await control.functions.versions(call.caller, name(call), page(call))
      return { items: items.map(versionJson), nextCursor }
    },
    rollbackFunction: async (call) =>
      functionJson(
        await control.functions.rollback(call.caller, name(call), (call.body as { to?: number }).to ?? null),
      ),
    listAliases: async (call) => ({ items: (await control.aliases.list(call.caller, name(call))).map(aliasJson) }),
    setAlias: async (call) =>
      aliasJson(
        await control.aliases.set(
          call.caller,
          name(call),
          call.params['alias'] ?? '',
          (call.body as { version: number }).version,
        ),
      ),
    deleteAlias: async (call) => control.aliases.delete(call.caller, name(call), call.params['alias'] ?? ''),
    getLogs: async (call) => logs(control, call),
    listInvocations: async (call) => {
      const limit = typeof call.query['limit'] === 'number' ? call.query['limit'] : 20
      return { items: (await control.invocations(call.caller, name(call), limit)).map(receiptJson) }
    },
    getInvocation: async ({ caller, params }) => receiptJson(await control.invocation(caller, params['id'] ?? '')),
    cancelInvocation: async ({ caller, params }) => ({ cancelled: await control.cancel(caller, params['id'] ?? '') }),
    putArtifact: async ({ caller, params, raw }) =>
      control.artifacts.put(caller, raw.content, artifactOf(params['sha256'] ?? '')),
    headArtifact: async ({ caller, params }) => {
      if ((await control.artifacts.stat(caller, artifactOf(params['sha256'] ?? ''))) === null)
        throw new AppError('not_found', 'There is no such artifact.')
    },
    listRuntimes: async ({ caller }) => ({ items: await control.runtimes(caller) }),
    listNodes: async ({ caller }) => ({ items: await control.nodes(caller) }),
    listSecrets: async ({ caller }) => ({
      items: (await control.secrets.list(caller)).map(({ project: _, ...rest }) => rest),
    }),
    setSecret: async (call) => {
      const { project: _, ...rest } = await control.secrets.set(
        call.caller,
        name(call),
        (call.body as { value: string }).value,
      )
      return rest
    },
    deleteSecret: async (call) => control.secrets.delete(call.caller, name(call)),
    listKeys: async ({ caller }) => ({ items: await control.keys.list(caller) }),
    createKey: async ({ caller, body }) =>
      control.keys.create(caller, body as { name: string; scopes: string[]; project?: string }),
    revokeKey: async ({ caller, params }) => control.keys.revoke(caller, params['id'] ?? ''),
    listProjects: async ({ caller }) => ({ items: await control.projects.list(caller) }),
    createProject: async ({ caller, body }) => control.projects.create(caller, (body as { name: string }).name),
    listAudit: async (call) => control.audit(call.caller, page(call)),
    healthz: async () => ({ ok: true }),
    readyz: async ({ raw }) => {
      const state = await control.ready()
      if (!state.ready) raw.response.statusCode = 503
      return state
    },
    metrics: async ({ caller }) => control.metrics(caller),
    openapi: async () => document,
  }
}

interface CreateBody {
  readonly name: string
  readonly code: { readonly artifact: string }
  readonly [field: string]: unknown
}

export const routeEntries = Object.entries(routes).filter(
  (entry): entry is [Exclude<RouteId, 'invoke'>, (typeof routes)[Exclude<RouteId, 'invoke'>]] => entry[0] !== 'invoke',
)

function artifactOf(text: string): Digest {
  const digest = parseDigest(text.startsWith('sha256:') ? text : `sha256:${text}`)
  if (digest === undefined) throw invalid('artifact', text, '"sha256:" and 64 hex digits')
  return digest
}

async function logs(control: Control, call: Call): Promise<unknown> {
  const { request, response } = call.raw
  const functionName = call.params['name'] ?? ''
  const tail = typeof call.query['tail'] === 'number' ? call.query['tail'] : undefined
  const wantsStream =
    call.query['follow'] === 'true' || call.query['follow'] === '1' || request.headers.accept === 'text/event-stream'
  if (!wantsStream) return { items: await control.logs.tail(call.caller, functionName, tail ?? tailDefault) }
  const last = request.headers['last-event-id']
  if (last !== undefined && !/^\d{1,15}$/.test(String(last)))
    throw invalid('Last-Event-ID', last, 'the byte offset of a log line')
  await streamLogs({
    response,
    tail: tail === undefined || last !== undefined ? [] : await control.logs.tail(call.caller, functionName, tail),
    follow: async (signal, fromOffset) =>
      control.logs.follow(call.caller, functionName, { signal, ...(fromOffset !== undefined && { fromOffset }) }),
    fromOffset: last === undefined ? undefined : Number(last),
  })
  return streamed
}
