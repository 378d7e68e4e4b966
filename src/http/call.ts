import { routes, type RouteId } from '@hearth/sdk'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import type { Caller } from '../domain/control.ts'

/** One call, parsed by the contract table. */
export interface Call {
  readonly caller: Caller
  readonly params: Readonly<Record<string, string>>
  readonly query: Readonly<Record<string, unknown>>
  readonly body: unknown
  readonly raw: { readonly request: IncomingMessage; readonly response: ServerResponse; readonly content: Readable }
  /** For the operator's log: something failed after the answer had begun. */
  readonly onLateError: (error: unknown) => void
}

/** Answers a call with the JSON of its reply; `streamed` has answered by itself. */
export type Handler = (call: Call) => Promise<unknown>
export const streamed = Symbol('streamed')

/** Every row of the table but `invoke`, which has a path of its own. */
export type TableRouteId = Exclude<RouteId, 'invoke'>
export type Handlers = Readonly<Record<TableRouteId, Handler>>

export type HandlersOf<Id extends TableRouteId> = Pick<Handlers, Id>

export const tableRoutes = Object.entries(routes).filter(
  (entry): entry is [TableRouteId, (typeof routes)[TableRouteId]] => entry[0] !== 'invoke',
)

const pageDefault = 50

export function page({ query }: Call): { limit: number; cursor?: string } {
  const { cursor } = query
  return { limit: numberOf(query['limit'], pageDefault), ...(typeof cursor === 'string' && { cursor }) }
}

export function numberOf(value: unknown, otherwise: number): number {
  return typeof value === 'number' ? value : otherwise
}

/** How much the client says is coming; null where it does not. */
export function contentLength({ raw }: Call): number | null {
  const length = raw.request.headers['content-length']
  return length === undefined ? null : Number(length)
}
