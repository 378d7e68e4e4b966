import { z } from 'zod'
import { keyRoutes } from './key-contract.ts'
import { layerRoutes } from './layer-contract.ts'
import { projectRoutes } from './project-contract.ts'
import { urlRoutes } from './url-contract.ts'
import { versionRoutes } from './version-contract.ts'
import * as s from './schemas.ts'
import { buildRoutes } from './build-contract.ts'
import { storageRoutes } from './storage-contract.ts'

/** One row of the API: what goes in, what comes out, who may. `scope` null = open to anybody; `invoke` = `invoke:NAME`. */
export type Route = RouteParts & (Reading | Changing)

interface Reading {
  readonly method: 'GET' | 'HEAD'
}

interface Changing {
  readonly method: 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Actions that the audit log has of a call that changed something, or why it has none. */
  readonly audit: readonly [string, ...string[]] | { readonly none: string }
}

interface RouteParts {
  /** With `{name}` parameters; `{name...}` at the end takes the rest, slashes and all. */
  readonly path: string
  readonly params?: z.ZodObject
  readonly query?: z.ZodObject
  /** JSON body; `bytes` = the raw body is the content. */
  readonly body?: z.ZodType | 'bytes'
  /** JSON reply; `bytes`/`text`/`none` otherwise. */
  readonly reply: z.ZodType | 'bytes' | 'text' | 'none'
  /** When all went well. */
  readonly status: number
  /** What comes in is never quoted in an error. */
  readonly isSecret?: true
  /** When it was accepted and goes on. */
  readonly acceptedStatus?: number
  readonly scope: string | null
  readonly summary: string
}

const name = z.object({ name: s.functionName })

/** The whole HTTP API. `http/routes.ts` binds it to handlers; the client and the OpenAPI document are made from it. */
export const routes = {
  createFunction: {
    method: 'POST',
    path: '/v1/functions',
    query: s.deployQuery,
    body: s.createFunctionBody,
    reply: s.functionView,
    status: 201,
    acceptedStatus: 202,
    scope: 'functions:write',
    summary:
      'Create a function from an uploaded artifact; answers when it can be invoked, or at once with `wait=false`.',
    audit: ['function.create'],
  },
  listFunctions: {
    method: 'GET',
    path: '/v1/functions',
    query: s.pageQuery,
    reply: s.pageOf(s.functionView),
    status: 200,
    scope: 'functions:read',
    summary: 'List functions by name.',
  },
  getFunction: {
    method: 'GET',
    path: '/v1/functions/{name}',
    params: name,
    reply: s.functionView,
    status: 200,
    scope: 'functions:read',
    summary: 'Configuration, current version and figures of a function.',
  },
  updateFunction: {
    method: 'PATCH',
    path: '/v1/functions/{name}',
    params: name,
    query: s.deployQuery,
    body: s.updateFunctionBody,
    reply: s.functionView,
    status: 200,
    acceptedStatus: 202,
    scope: 'functions:write',
    summary: 'Make a new version with other code or configuration.',
    audit: ['function.update'],
  },
  deleteFunction: {
    method: 'DELETE',
    path: '/v1/functions/{name}',
    params: name,
    reply: 'none',
    status: 204,
    scope: 'functions:write',
    summary: 'Delete a function with its versions, aliases and logs.',
    audit: ['function.delete'],
  },
  putFunctionCode: {
    method: 'PUT',
    path: '/v1/functions/{name}/code',
    params: name,
    query: s.deployQuery,
    body: 'bytes',
    reply: s.functionView,
    status: 200,
    acceptedStatus: 202,
    scope: 'functions:write',
    summary: 'Make a new version from a zip (application/zip).',
    audit: ['artifact.put', 'function.update'],
  },
  ...versionRoutes,
  invoke: {
    method: 'POST',
    path: '/v1/functions/{name}/invoke',
    params: z.object({ name: z.string() }),
    body: 'bytes',
    reply: 'bytes',
    status: 200,
    scope: 'invoke',
    summary: 'Invoke `NAME` or `NAME:QUALIFIER` (version, alias, $LATEST).',
    audit: { none: 'each invocation has a receipt.' },
  },
  getLogs: {
    method: 'GET',
    path: '/v1/functions/{name}/logs',
    params: name,
    query: z.strictObject({
      tail: z.coerce.number().int().min(0).max(10_000).optional(),
      follow: z.enum(['true', 'false', '1', '0']).optional(),
    }),
    reply: s.listOf(s.logLine),
    status: 200,
    scope: 'logs:read',
    summary:
      'Last lines; with `follow=true` or Accept: text/event-stream a stream whose `id:` is the byte offset, until an `error` event says that the function was deleted or the key revoked.',
  },
  listInvocations: {
    method: 'GET',
    path: '/v1/functions/{name}/invocations',
    params: name,
    query: z.strictObject({ limit: z.coerce.number().int().min(1).max(1000).optional() }),
    reply: s.listOf(s.receipt),
    status: 200,
    scope: 'functions:read',
    summary: 'Invocations of a function: what waits and runs, then the latest receipts.',
  },
  listAllInvocations: {
    method: 'GET',
    path: '/v1/invocations',
    query: z.strictObject({ limit: z.coerce.number().int().min(1).max(1000).optional() }),
    reply: s.listOf(s.receipt),
    status: 200,
    scope: 'functions:read',
    summary: 'Invocations of all functions of the project: what waits and runs, then the latest receipts.',
  },
  getInvocation: {
    method: 'GET',
    path: '/v1/invocations/{id}',
    params: z.object({ id: z.string() }),
    reply: s.receipt,
    status: 200,
    scope: 'functions:read',
    summary: 'Receipt of one invocation.',
  },
  cancelInvocation: {
    method: 'POST',
    path: '/v1/invocations/{id}/cancel',
    params: z.object({ id: z.string() }),
    reply: z.object({ cancelled: z.boolean() }),
    status: 200,
    scope: 'functions:write',
    summary: 'Cancel a queued or running invocation.',
    audit: ['invocation.cancel'],
  },
  putArtifact: {
    method: 'PUT',
    path: '/v1/artifacts/{sha256}',
    params: z.object({ sha256: s.hex }),
    query: s.uploadQuery,
    body: 'bytes',
    reply: s.artifact,
    status: 201,
    scope: 'functions:write',
    summary: 'Upload a code archive, or an image, under its SHA-256.',
    audit: ['artifact.put'],
  },
  headArtifact: {
    method: 'HEAD',
    path: '/v1/artifacts/{sha256}',
    params: z.object({ sha256: s.hex }),
    reply: 'none',
    status: 200,
    scope: 'functions:write',
    summary: 'Whether an artifact is there.',
  },
  ...layerRoutes,
  ...buildRoutes,
  ...urlRoutes,
  ...storageRoutes,
  listRuntimes: {
    method: 'GET',
    path: '/v1/runtimes',
    reply: s.listOf(s.runtimeBuild).extend({ others: z.array(s.otherRuntime) }),
    status: 200,
    scope: 'functions:read',
    summary: 'Runtimes of this platform: interpreters, and what runs or is built without one.',
  },
  listNodes: {
    method: 'GET',
    path: '/v1/nodes',
    reply: s.listOf(s.nodeStatus),
    status: 200,
    scope: 'nodes:read',
    summary: 'Nodes, their drivers and what each enforces.',
  },
  listSecrets: {
    method: 'GET',
    path: '/v1/secrets',
    reply: s.listOf(s.secretInfo),
    status: 200,
    scope: 'secrets:read',
    summary: 'Names and revisions of secrets; never values.',
  },
  setSecret: {
    method: 'PUT',
    path: '/v1/secrets/{name}',
    params: z.object({ name: s.secretName }),
    body: z.strictObject({ value: z.string() }).meta({ id: 'SetSecret' }),
    isSecret: true,
    reply: s.secretInfo,
    status: 200,
    scope: 'secrets:write',
    summary: 'Create or rotate a secret; warm Instances that hold it are retired.',
    audit: ['secret.set'],
  },
  deleteSecret: {
    method: 'DELETE',
    path: '/v1/secrets/{name}',
    params: z.object({ name: s.secretName }),
    reply: 'none',
    status: 204,
    scope: 'secrets:write',
    summary: 'Delete a secret that no current function names.',
    audit: ['secret.delete'],
  },
  ...keyRoutes,
  ...projectRoutes,
  listAudit: {
    method: 'GET',
    path: '/v1/audit',
    query: s.pageQuery,
    reply: s.pageOf(s.auditEntry),
    status: 200,
    scope: 'audit:read',
    summary: 'Every change, newest first: who, what, when. Each call below says what is written of it.',
  },
  healthz: {
    method: 'GET',
    path: '/healthz',
    reply: z.object({ ok: z.boolean() }),
    status: 200,
    scope: null,
    summary: 'The process answers.',
  },
  readyz: {
    method: 'GET',
    path: '/readyz',
    reply: z.object({ ready: z.boolean(), detail: z.string() }),
    status: 200,
    scope: null,
    summary: 'The platform takes invocations (503 otherwise).',
  },
  metrics: {
    method: 'GET',
    path: '/metrics',
    reply: 'text',
    status: 200,
    scope: 'metrics:read',
    summary: 'Prometheus text.',
  },
  openapi: {
    method: 'GET',
    path: '/openapi.json',
    reply: z.unknown(),
    status: 200,
    scope: null,
    summary: 'This API as OpenAPI 3.1.',
  },
} as const satisfies Record<string, Route>
