import { z } from 'zod'
import { routes, type Route } from './contract.ts'
import { invokeReplyHeaders, invokeRequestHeaders, invokeStatuses } from './invoke-contract.ts'
import { errorBody } from './schemas.ts'

type Json = Record<string, unknown>
type SchemaOf = (schema: z.ZodType, io: 'input' | 'output') => Json

/** The API as an OpenAPI 3.1 document, made from the contract table. */
export function openapi(version: string): Json {
  const schemas: Json = {}
  const paths: Record<string, Json> = {}
  const schemaOf: SchemaOf = (schema, io) =>
    hoist(z.toJSONSchema(schema, { io, target: 'draft-2020-12', unrepresentable: 'any' }), schemas)
  const error = schemaOf(errorBody, 'output')
  for (const [id, route] of Object.entries<Route>(routes)) {
    const operation = id === 'invoke' ? invokeOperation(route, schemaOf) : operationOf(id, route, schemaOf)
    const path = route.path.replace('...}', '}')
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Hearth',
      version,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      description: 'Serverless on machines you own.',
    },
    servers: [{ url: 'http://127.0.0.1:8080' }],
    security: [{ bearer: [] }],
    paths,
    components: {
      schemas,
      responses: {
        Error: {
          description: 'Refused or failed; `code` says how.',
          content: { 'application/json': { schema: error } },
        },
      },
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer', description: '`hth_<id>_<secret>`' } },
    },
  }
}

const errorReference = { $ref: '#/components/responses/Error' }

function operationOf(id: string, route: Route, schemaOf: SchemaOf): Json {
  return {
    operationId: id,
    summary: route.summary,
    ...(route.scope === null ? { security: [] } : { description: `Scope: \`${route.scope}\`.` }),
    parameters: [...parameters(route.params, 'path', schemaOf), ...parameters(route.query, 'query', schemaOf)],
    ...(route.body !== undefined && {
      requestBody: { required: true, content: content(route.body, 'input', schemaOf) },
    }),
    responses: {
      [String(route.status)]: { description: 'Done.', ...replyContent(route, schemaOf) },
      ...(route.acceptedStatus !== undefined && {
        [String(route.acceptedStatus)]: { description: 'Accepted; it goes on.', ...replyContent(route, schemaOf) },
      }),
      '4XX': errorReference,
      '5XX': errorReference,
    },
  }
}

function replyContent({ reply }: Route, schemaOf: SchemaOf): Json {
  return reply === 'none' ? {} : { content: content(reply, 'output', schemaOf) }
}

function invokeOperation(route: Route, schemaOf: SchemaOf): Json {
  const text = { type: 'string' }
  const headers = Object.fromEntries(
    invokeReplyHeaders.map(({ name, about }) => [name, { description: about, schema: text }]),
  )
  const replies = invokeStatuses.map(({ status, about }) => [
    String(status),
    { description: about, headers, content: { '*/*': { schema: {} } } },
  ])
  return {
    operationId: 'invoke',
    summary: route.summary,
    description: 'Scope: `invoke:NAME` or `invoke:*`.',
    parameters: [
      ...parameters(route.params, 'path', schemaOf),
      // OpenAPI describes Content-Type by the content of the body.
      ...invokeRequestHeaders
        .filter(({ name }) => name !== 'Content-Type')
        .map(({ name, about }) => ({ name, in: 'header', description: about, required: false, schema: text })),
    ],
    requestBody: {
      required: false,
      description: 'The event; empty is `{}`.',
      content: { 'application/json': { schema: {} }, '*/*': { schema: {} } },
    },
    responses: { ...Object.fromEntries(replies), '4XX': errorReference, '5XX': errorReference },
  }
}

function parameters(schema: z.ZodObject | undefined, where: 'path' | 'query', schemaOf: SchemaOf): Json[] {
  return Object.entries(schema?.shape ?? {}).map(([name, part]) => ({
    name,
    in: where,
    required: where === 'path',
    schema: withoutMeta(schemaOf(part as z.ZodType, 'input')),
  }))
}

function content(part: z.ZodType | 'bytes' | 'text' | 'none', io: 'input' | 'output', schemaOf: SchemaOf): Json {
  if (part === 'bytes') return { '*/*': { schema: {} } }
  if (part === 'text') return { 'text/plain': { schema: { type: 'string' } } }
  return { 'application/json': { schema: part === 'none' ? {} : withoutMeta(schemaOf(part, io)) } }
}

/** Moves named definitions into the document's components and rewrites references to them. */
function hoist(schema: Json, into: Json): Json {
  const { $defs = {}, ...rest } = schema as Json & { $defs?: Record<string, Json> }
  for (const [name, definition] of Object.entries($defs)) into[name] = withoutMeta(rewrite(definition))
  const named = rest['id']
  const rewritten = rewrite(rest)
  if (typeof named !== 'string') return rewritten
  into[named] = withoutMeta(rewritten)
  return { $ref: `#/components/schemas/${named}` }
}

function rewrite(value: Json): Json {
  return JSON.parse(JSON.stringify(value).replaceAll('"#/$defs/', '"#/components/schemas/')) as Json
}

function withoutMeta({ $schema: _schema, id: _id, ...rest }: Json): Json {
  return rest
}
