import { openapi } from '@hearth/sdk'
import type { Control, DeployOptions, KeyInput, UpdateFunction } from '../domain/control.ts'
import { AppError, invalid } from '../domain/error.ts'
import type { ProjectQuotas, SecretInfo } from '../domain/project.ts'
import { artifactOf, codeSourceOf, type CodeSourceBody } from './code-source.ts'
import { contentLength, numberOf, page, streamed, type Call, type Handlers, type HandlersOf } from './call.ts'
import { layerHandlers } from './layer-routes.ts'
import { storageHandlers } from './storage-routes.ts'
import { streamBuild } from './build-stream.ts'
import { urlHandlers } from './url-routes.ts'
import type { UrlPlace } from './url-place.ts'
import { streamLogs } from './log-stream.ts'
import { aliasJson, functionJson, receiptJson, versionJson } from './views.ts'

const tailDefault = 50
const invocationsDefault = 20

/** The contract table bound to the control; scopes are checked there. */
export function handlers(control: Control, { version, urlPlace }: { version: string; urlPlace: UrlPlace }): Handlers {
  return {
    ...{
      ...functionHandlers(control),
      ...layerHandlers(control),
      ...storageHandlers(control),
      ...urlHandlers(control, urlPlace),
    },
    ...{ ...runHandlers(control), ...tenantHandlers(control), ...own(control, version) },
  }
}

function functionHandlers({
  functions,
  aliases,
  artifacts,
  builds,
  keys,
}: Control): HandlersOf<
  | 'createFunction'
  | 'listFunctions'
  | 'getFunction'
  | 'updateFunction'
  | 'deleteFunction'
  | 'putFunctionCode'
  | 'listVersions'
  | 'deleteVersion'
  | 'rollbackFunction'
  | 'listAliases'
  | 'setAlias'
  | 'deleteAlias'
  | 'putArtifact'
  | 'headArtifact'
  | 'buildBundle'
> {
  return {
    createFunction: async (call) => {
      const { name: functionName, code, ...config } = call.body as CreateBody
      const created = { name: functionName, code: codeSourceOf(code), config: config as never }
      return functionJson(await functions.create(call.caller, created, deployOptions(call)))
    },
    listFunctions: async (call) => {
      const { items, nextCursor } = await functions.list(call.caller, page(call))
      return { items: items.map(functionJson), nextCursor }
    },
    getFunction: async (call) => functionJson(await functions.get(call.caller, name(call))),
    updateFunction: async (call) => {
      const { code, ...config } = call.body as Partial<CreateBody>
      const input: UpdateFunction = {
        config: config as never,
        ...(code !== undefined && { code: codeSourceOf(code) }),
      }
      return functionJson(await functions.update(call.caller, name(call), input, deployOptions(call)))
    },
    deleteFunction: async (call) => functions.delete(call.caller, name(call)),
    putFunctionCode: async (call) => {
      const about = { expect: null, kind: 'code', bytesExpected: contentLength(call) } as const
      const { digest } = await artifacts.put(call.caller, call.raw.content, about)
      const input = { code: { artifact: digest } }
      return functionJson(await functions.update(call.caller, name(call), input, deployOptions(call)))
    },
    listVersions: async (call) => {
      const { items, nextCursor } = await functions.versions(call.caller, name(call), page(call))
      return { items: items.map(versionJson), nextCursor }
    },
    deleteVersion: async (call) => functions.deleteVersion(call.caller, name(call), Number(call.params['number'])),
    rollbackFunction: async (call) => {
      const { to } = call.body as { to?: number }
      return functionJson(await functions.rollback(call.caller, name(call), to ?? null))
    },
    listAliases: async (call) => ({ items: (await aliases.list(call.caller, name(call))).map(aliasJson) }),
    setAlias: async (call) => {
      const { version } = call.body as { version: number }
      return aliasJson(await aliases.set(call.caller, name(call), call.params['alias'] ?? '', version))
    },
    deleteAlias: async (call) => aliases.delete(call.caller, name(call), call.params['alias'] ?? ''),
    putArtifact: async (call) => {
      const { caller, params, query, raw } = call
      const kind = query['kind'] === 'image' ? 'image' : 'code'
      const about = { expect: artifactOf(params['sha256'] ?? ''), kind, bytesExpected: contentLength(call) } as const
      return artifacts.put(caller, raw.content, about)
    },
    buildBundle: async (call) => streamBuild({ builds, keys }, call),
    headArtifact: async ({ caller, params }) => {
      if ((await artifacts.stat(caller, artifactOf(params['sha256'] ?? ''))) === null)
        throw new AppError('not_found', 'There is no such artifact.')
    },
  }
}

function runHandlers(
  control: Control,
): HandlersOf<
  | 'getLogs'
  | 'listInvocations'
  | 'listAllInvocations'
  | 'getInvocation'
  | 'cancelInvocation'
  | 'listRuntimes'
  | 'listNodes'
> {
  const listed = async ({ caller, query }: Call, functionName: string | null): Promise<unknown> => {
    const limit = numberOf(query['limit'], invocationsDefault)
    return { items: (await control.invocations(caller, functionName, limit)).map(receiptJson) }
  }
  return {
    getLogs: async (call) => logs(control, call),
    listInvocations: async (call) => listed(call, name(call)),
    listAllInvocations: async (call) => listed(call, null),
    getInvocation: async ({ caller, params }) => receiptJson(await control.invocation(caller, params['id'] ?? '')),
    cancelInvocation: async ({ caller, params }) => ({ cancelled: await control.cancel(caller, params['id'] ?? '') }),
    listRuntimes: async ({ caller }) => control.runtimes(caller),
    listNodes: async ({ caller }) => ({ items: await control.nodes(caller) }),
  }
}

function tenantHandlers(
  control: Control,
): HandlersOf<
  | 'listSecrets'
  | 'setSecret'
  | 'deleteSecret'
  | 'listKeys'
  | 'createKey'
  | 'revokeKey'
  | 'listProjects'
  | 'createProject'
  | 'getProject'
  | 'updateProject'
  | 'listAudit'
> {
  const { secrets, keys, projects } = control
  return {
    listSecrets: async ({ caller }) => ({ items: (await secrets.list(caller)).map(secretJson) }),
    setSecret: async (call) => {
      const { value } = call.body as { value: string }
      return secretJson(await secrets.set(call.caller, name(call), value))
    },
    deleteSecret: async (call) => secrets.delete(call.caller, name(call)),
    listKeys: async ({ caller }) => ({ items: await keys.list(caller) }),
    createKey: async ({ caller, body }) => keys.create(caller, body as KeyInput),
    revokeKey: async ({ caller, params }) => keys.revoke(caller, params['id'] ?? ''),
    listProjects: async ({ caller }) => ({ items: await projects.list(caller) }),
    createProject: async ({ caller, body }) => {
      const { name: projectName, quotas } = body as { name: string; quotas?: Partial<ProjectQuotas> }
      return projects.create(caller, projectName, quotas)
    },
    getProject: async (call) => projects.get(call.caller, name(call)),
    updateProject: async (call) => {
      const { quotas } = call.body as { quotas: Partial<ProjectQuotas> }
      return projects.update(call.caller, name(call), quotas)
    },
    listAudit: async (call) => control.audit(call.caller, page(call)),
  }
}

function own(control: Control, version: string): HandlersOf<'healthz' | 'readyz' | 'metrics' | 'openapi'> {
  const document = openapi(version)
  return {
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
  readonly code: CodeSourceBody
  readonly [field: string]: unknown
}

function name(call: Call): string {
  return call.params['name'] ?? ''
}

/** With `wait=false` the answer is 202. */
function deployOptions({ query, raw }: Call): DeployOptions {
  const wait = query['wait'] !== 'false'
  if (!wait) raw.response.statusCode = 202
  const { mustLoad } = query
  return { wait, mustLoad: mustLoad === undefined ? null : mustLoad === 'true' }
}

function secretJson({ project: _project, ...rest }: SecretInfo): Omit<SecretInfo, 'project'> {
  return rest
}

async function logs(control: Control, call: Call): Promise<unknown> {
  const { request, response } = call.raw
  const tail = typeof call.query['tail'] === 'number' ? call.query['tail'] : undefined
  const { follow } = call.query
  const wantsStream = follow === 'true' || follow === '1' || request.headers.accept === 'text/event-stream'
  const linesOf = async (lines: number) => control.logs.tail(call.caller, name(call), lines)
  if (!wantsStream || request.method === 'HEAD') return { items: await linesOf(tail ?? tailDefault) }
  const last = request.headers['last-event-id']
  if (last !== undefined && !/^\d{1,15}$/.test(String(last)))
    throw invalid('Last-Event-ID', last, 'the byte offset of a log line')
  const lines = last === undefined ? await linesOf(Math.max(1, tail ?? 0)) : []
  const fromOffset = last === undefined ? (lines.at(-1)?.offset ?? 0) : Number(last)
  const log = request.headers['hearth-log-id']
  await streamLogs({
    response,
    tail: tail === undefined || tail === 0 ? [] : lines,
    fromOffset,
    follow: async (signal) =>
      control.logs.follow(call.caller, name(call), {
        signal,
        fromOffset,
        ...(log !== undefined && { log: String(log) }),
      }),
    watchKey: async (ended) => control.keys.watch(call.caller, ended),
    onError: call.onLateError,
  })
  return streamed
}
