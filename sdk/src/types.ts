import type { buildEvent } from './build-contract.ts'
import type { z } from 'zod'
import type { routes } from './contract.ts'
import type * as s from './schemas.ts'
import type { key } from './key-contract.ts'
import type { layerVersion } from './layer-contract.ts'
import type { project, projectStatus } from './project-contract.ts'
import type { functionUrl } from './url-contract.ts'
import type { storedObject } from './storage-contract.ts'

/* What the contract table says, as types. */

export type Routes = typeof routes
export type RouteId = keyof Routes

type Part<R, K extends 'params' | 'query', Side extends 'input' | 'output'> = R extends {
  [P in K]: infer S extends z.ZodType
}
  ? Side extends 'input'
    ? z.input<S>
    : z.output<S>
  : unknown
type Body<R> = R extends { body: infer S }
  ? S extends z.ZodType
    ? { body: z.input<S> }
    : { body: Uint8Array | Blob }
  : unknown

/** Arguments of a client call: path and query parameters side by side, the body under `body`. */
export type Arguments<R> = Part<R, 'params', 'input'> & Part<R, 'query', 'input'> & Body<R>
export type ReplyOf<R> = R extends { reply: infer S }
  ? S extends z.ZodType
    ? z.output<S>
    : S extends 'none'
      ? void
      : S extends 'text'
        ? string
        : Uint8Array
  : never

export type FunctionView = z.output<typeof s.functionView>
export type VersionView = z.output<typeof s.versionView>
export type AliasView = z.output<typeof s.alias>
export type FunctionUrlView = z.output<typeof functionUrl>
export type Receipt = z.output<typeof s.receipt>
export type BuildEvent = z.output<typeof buildEvent>
export type LogLine = z.output<typeof s.logLine>
export type RuntimeBuild = z.output<typeof s.runtimeBuild>
export type NodeStatus = z.output<typeof s.nodeStatus>
export type SecretInfo = z.output<typeof s.secretInfo>
export type Key = z.output<typeof key>
export type Project = z.output<typeof project>
export type ProjectStatus = z.output<typeof projectStatus>
export type AuditEntry = z.output<typeof s.auditEntry>
export type LayerVersion = z.output<typeof layerVersion>
export type StoredObject = z.output<typeof storedObject>
export type ErrorBody = z.output<typeof s.errorBody>['error']
export type CreateFunctionBody = z.input<typeof s.createFunctionBody>
export type UpdateFunctionBody = z.input<typeof s.updateFunctionBody>
