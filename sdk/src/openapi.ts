import { z } from 'zod'
import { routes, type Route } from './contract.ts'
import { errorBody } from './schemas.ts'

type Json = Record<string, unknown>

/** The API as an OpenAPI 3.1 document, made from the contract table. */
export function openapi(version: string): Json {
  const schemas: Json = {}
  const paths: Record<string, Json> = {}
  const schemaOf = (schema: z.ZodType, io: 'input' | 'output'): Json =>
    hoist(z.toJSONSchema(schema, { io, target: 'draft-2020-12', unrepresentable: 'any' }) as Json, schemas)
  const error = schemaOf(errorBody, 'output')
  for (const [id, route] of Object.entries<Route>(routes)) {
    const operation: Json = {
      operationId: id,
      summary: route.summary,
      ...(route.scope === null ? { security: [] } : { description: `Scope: \`${route.scope}\`.` }),
      parameters: [...parameters(route.params, 'path', schemaOf), ...parameters(route.query, 'query', schemaOf)],
      ...(route.body === undefined
        ? {}
        : { requestBody: { required: id !== 'invoke', content: content(route.body, 'input', schemaOf) } }),
      responses: {
        [String(route.status)]: {
          description: 'Done.',
          ...(route.reply === 'none' ? {} : { content: content(route.reply, 'output', schemaOf) }),
        },
        default: {
          description: 'Refused or failed; see contracts.md.',
          content: { 'application/json': { schema: error } },
        },
      },
    }
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation }
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
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer', description: '`hth_<id>_<secret>`' } },
    },
  }
}

function parameters(
  schema: z.ZodObject | undefined,
  where: 'path' | 'query',
  schemaOf: (schema: z.ZodType, io: 'input') => Json,
): Json[] {
  return Object.entries(schema?.shape ?? {}).map(([name, part]) => ({
    name,
    in: where,
    required: where === 'path',
    schema: withoutMeta(schemaOf(part as z.ZodType, 'input')),
  }))
}

function content(
  part: z.ZodType | 'bytes' | 'text' | 'none',
  io: 'input' | 'output',
  schemaOf: (schema: z.ZodType, io: 'input' | 'output') => Json,
): Json {
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
