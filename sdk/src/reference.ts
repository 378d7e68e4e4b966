import { z } from 'zod'
import { routes, type Route } from './contract.ts'
import { invokeReplyHeaders, invokeRequestHeaders, invokeStatuses, type HeaderRow } from './invoke-contract.ts'
import * as keys from './key-contract.ts'
import * as layers from './layer-contract.ts'
import * as projects from './project-contract.ts'
import * as schemas from './schemas.ts'
import * as storage from './storage-contract.ts'
import * as urls from './url-contract.ts'

type Json = Readonly<Record<string, unknown>>

/** docs/reference/http-api.md, printed from the contract table. */
export function httpApiPage(): string {
  const rows = Object.entries<Route>(routes)
  const overview = rows.map(
    ([id, { method, path, scope, summary }]) =>
      `| [\`${method} ${path}\`](#${id.toLowerCase()}) | ${scopeText(scope)} | ${cell(summary)} |`,
  )
  return `# HTTP API

Every call but those marked open carries \`Authorization: Bearer hth_<id>_<secret>\`. 401: no key or a bad one. 403: the key has no scope for this, whether or not
the name exists. 404: not found, inside the scope only. Bodies and replies are JSON unless said otherwise; times are epoch ms; an unknown field is refused. The same as a document
for machines: \`GET /openapi.json\` of a platform, or [openapi.json](openapi.json). What stays stable: [contracts](contracts.md). This page is printed from \`sdk/src/contract.ts\`.

| call | scope | what it does |
|---|---|---|
${overview.join('\n')}

## Errors

Every refusal has a body like this; \`code\` is one of \`invalid\` (400, 405, 413, 415), \`unauthorized\` (401), \`forbidden\` (403), \`not_found\` (404), \`conflict\` (409),
\`capacity\` (503, with \`Retry-After\` where to come again may help), \`timeout\` (504), \`guest_failed\` and \`driver_failed\` (502), \`internal\` (500).

${fieldTable(shapeOf(schemas.errorBody.shape.error))}

${rows.map(([id, row]) => section(id, row)).join('\n\n')}

## Shapes

${shapes()}
`
}

function section(id: string, row: Route): string {
  const { method, path, scope, summary, status, acceptedStatus } = row
  const statuses = [status, ...(acceptedStatus === undefined ? [] : [acceptedStatus])].join(' or ')
  const parts = [
    `## ${id}`,
    `\`${method} ${path}\`, ${scope === null ? 'open' : `scope ${scopeText(scope)}`}. ${summary}`,
    row.query === undefined ? '' : `Query:\n\n${fieldTable(shapeOf(row.query, 'input'))}`,
  ]
  if (id === 'invoke') return [...parts, invokeParts(), auditText(row)].filter(Boolean).join('\n\n')
  if (row.body === 'bytes') parts.push('Body: the bytes themselves.')
  else if (row.body !== undefined) parts.push(`Body: ${described(row.body, 'input')}`)
  parts.push(`Answers ${statuses}${replyText(row)}`)
  parts.push(auditText(row))
  return parts.filter(Boolean).join('\n\n')
}

function auditText(row: Route): string {
  if (!('audit' in row)) return ''
  const { audit } = row
  return 'none' in audit
    ? `Not in the audit log: ${audit.none}`
    : `In the audit log: ${audit.map((action) => `\`${action}\``).join(', ')}.`
}

function invokeParts(): string {
  const statuses = invokeStatuses.map(({ status, about }) => `| ${status} | ${cell(about)} |`)
  return `Body: the event; empty is \`{}\`. Request headers:

${headerTable(invokeRequestHeaders)}

Answers with the function's result. Every outcome has its status:

| status | when |
|---|---|
${statuses.join('\n')}

Reply headers, on every outcome that has an invocation:

${headerTable(invokeReplyHeaders)}`
}

function headerTable(rows: readonly HeaderRow[]): string {
  return [
    '| header | meaning |',
    '|---|---|',
    ...rows.map(({ name, about }) => `| \`${name}\` | ${cell(about)} |`),
  ].join('\n')
}

function replyText({ reply }: Route): string {
  if (reply === 'none') return ', no body.'
  if (reply === 'text') return ', text.'
  if (reply === 'bytes') return ', bytes.'
  return `: ${described(reply, 'output')}`
}

/** A named shape by its link, another by its fields. */
function described(schema: z.ZodType, io: 'input' | 'output'): string {
  const name = nameOf(schema)
  if (io === 'output' && name !== undefined) return `${linkTo(name)}.`
  const shape = shapeOf(schema, io)
  return shape['properties'] === undefined ? `${typeText(shape)}.` : `\n\n${fieldTable(shape)}`
}

function shapes(): string {
  const named = Object.values({ ...schemas, ...keys, ...layers, ...projects, ...storage, ...urls }).flatMap(
    (schema): [string, z.ZodType][] => {
      if (!(schema instanceof z.ZodType)) return []
      const name = nameOf(schema)
      // Bodies stand with their calls.
      return name === undefined || /^(Create|Update|Error)/.test(name) ? [] : [[name, schema]]
    },
  )
  return named.map(([name, schema]) => `### ${name}\n\n${fieldTable(shapeOf(schema))}`).join('\n\n')
}

function fieldTable(shape: Json): string {
  const required = new Set(shape['required'] as readonly string[] | undefined)
  const rows = Object.entries((shape['properties'] ?? {}) as Readonly<Record<string, Json>>).map(([name, field]) => {
    const about = typeof field['description'] === 'string' ? field['description'] : ''
    return `| \`${name}\`${required.has(name) ? '' : ' (optional)'} | ${typeText(field)} | ${cell(about)} |`
  })
  return ['| field | type | meaning |', '|---|---|---|', ...rows].join('\n')
}

function typeText(field: Json): string {
  const { type, $ref, anyOf, items, additionalProperties, properties } = field
  if (typeof $ref === 'string') return linkTo($ref.split('/').at(-1) ?? '')
  if (Array.isArray(anyOf)) return (anyOf as readonly Json[]).map(typeText).join(' or ')
  if (Array.isArray(field['enum']))
    return (field['enum'] as readonly unknown[]).map((each) => `\`${String(each)}\``).join(', ')
  if (type === 'array') return `list of ${typeText((items ?? {}) as Json)}`
  if (properties !== undefined)
    return `{${Object.entries(properties as Readonly<Record<string, Json>>)
      .map(([name, inner]) => `${name}: ${typeText(inner)}`)
      .join('; ')}}`
  if (type === 'object') return `map of ${typeText((additionalProperties ?? {}) as Json)}`
  if (Array.isArray(type)) return type.join(' or ')
  return typeof type === 'string' ? type : 'anything'
}

function shapeOf(schema: z.ZodType, io: 'input' | 'output' = 'output'): Json {
  const whole = z.toJSONSchema(schema, { io, target: 'draft-2020-12', unrepresentable: 'any' }) as Json
  const { $ref, $defs } = whole
  if (typeof $ref !== 'string') return whole
  return ($defs as Readonly<Record<string, Json>>)[$ref.split('/').at(-1) ?? ''] ?? whole
}

function nameOf(schema: z.ZodType): string | undefined {
  const id = schema.meta()?.['id']
  return typeof id === 'string' ? id : undefined
}

function linkTo(name: string): string {
  return `[${name}](#${name.toLowerCase()})`
}

function scopeText(scope: string | null): string {
  return scope === null ? 'open' : scope === 'invoke' ? '`invoke:NAME`' : `\`${scope}\``
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}
