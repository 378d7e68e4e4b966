import { z } from 'zod'

/** A JSON Schema, as far as it is read here. */
type Node = Readonly<Record<string, unknown>>

/** What `schema` takes at `path`, in words ("a whole number from 1 to 1000"), and the names of its fields where it is an object with a closed set of them.
 *  Read from the same JSON Schema that /openapi.json shows, and only when something was refused. */
export function allowedAt(
  schema: z.ZodType,
  path: readonly PropertyKey[],
): { readonly text: string; readonly fields: readonly string[] } {
  const root: Node = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })
  let node = resolve(root, root)
  for (const part of path) node = resolve(step(node, part), root)
  return { text: inWords(node), fields: Object.keys(nodeOf(node['properties'])) }
}

function resolve(node: Node, root: Node): Node {
  const reference = node['$ref']
  if (typeof reference !== 'string') return node
  return nodeOf(nodeOf(root['$defs'])[reference.replace('#/$defs/', '')])
}

function step(node: Node, part: PropertyKey): Node {
  if (typeof part === 'number') return nodeOf(node['items'])
  const properties = nodeOf(node['properties'])
  return Object.hasOwn(properties, part) ? nodeOf(properties[String(part)]) : nodeOf(node['additionalProperties'])
}

function inWords(node: Node): string {
  const { description, enum: values } = node
  const what = Array.isArray(values) ? `one of ${values.map(String).join(', ')}` : kindOf(node)
  // Its first sentence has the range and the default that the platform holds it to.
  const first = typeof description === 'string' ? description.split(/(?<=\.)\s/)[0]?.replace(/\.$/, '') : undefined
  return first !== undefined && /\d/.test(first) && node['type'] === 'number' ? `${what} (${first})` : what
}

function kindOf(node: Node): string {
  switch (node['type']) {
    case 'integer':
      return `a whole number${rangeOf(node)}`
    case 'number':
      return `a number${rangeOf(node)}`
    case 'string':
      return typeof node['maxLength'] === 'number' ? `a text of at most ${node['maxLength']} characters` : 'a text'
    case 'boolean':
      return 'true or false'
    case 'array':
      return node['minItems'] === 1 ? 'a list of at least one' : 'a list'
    case 'object':
      return 'an object'
    default:
      return 'what /openapi.json shows'
  }
}

function rangeOf({ minimum, maximum }: Node): string {
  const isSafe = (bound: unknown): bound is number =>
    typeof bound === 'number' && Math.abs(bound) < Number.MAX_SAFE_INTEGER
  if (isSafe(minimum) && isSafe(maximum)) return ` from ${minimum} to ${maximum}`
  if (isSafe(minimum)) return ` from ${minimum} on`
  return isSafe(maximum) ? ` up to ${maximum}` : ''
}

function nodeOf(value: unknown): Node {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}
