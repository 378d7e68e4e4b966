import type { Digest } from '../../domain/artifact.ts'
import type { VersionState } from '../../domain/function.ts'
import type { RuntimeId } from '../../domain/runtime.ts'
import type { Generated } from 'kysely'

/** Tables of the store as Kysely sees them; `migrations.ts` makes them. Times are epoch ms, `*_json` columns hold JSON text. */
export interface Schema {
  meta: MetaTable
  projects: ProjectTable
  functions: FunctionTable
  versions: VersionTable
  version_secrets: VersionSecretTable
  layers: LayerTable
  layer_versions: LayerVersionTable
  buckets: BucketTable
  objects: ObjectTable
  aliases: AliasTable
  function_urls: FunctionUrlTable
  keys: KeyTable
  secrets: SecretTable
  audit: AuditTable
}

export interface MetaTable {
  key: string
  value: string
}

export interface ProjectTable {
  name: string
  created_at: number
  functions_max: number
  concurrency_max: number
}

export interface FunctionTable {
  project: string
  name: string
  latest: number
  version_count: number
  created_at: number
  updated_at: number
}

export interface VersionTable {
  project: string
  function_name: string
  number: number
  config_json: string
  code_digest: Digest
  code_bytes: number
  code_origin_json: string | null
  layers_json: Generated<string>
  runtime_id: RuntimeId
  runtime_version: string
  runtime_digest: Digest
  policy_digest: Digest
  created_at: number
  state: VersionState
  state_reason: string | null
  must_load: number
  moves_latest: number
}

/** Which project secrets a version names: answers "who still uses this secret?" by index. */
export interface VersionSecretTable {
  project: string
  function_name: string
  number: number
  secret: string
}

export interface LayerTable {
  project: string
  name: string
  version_count: number
}

export interface LayerVersionTable {
  project: string
  name: string
  number: number
  description: string
  runtimes_json: string
  digest: Digest
  bytes: number
  unpacked_bytes: number
  origin_json: string | null
  created_at: number
}

export interface BucketTable {
  project: string
  name: string
  created_at: number
}

/** Versions of objects; `is_current` marks the one with the highest `seq`. */
export interface ObjectTable {
  project: string
  bucket: string
  key: string
  seq: number
  version_id: string
  digest: Digest
  bytes: number
  etag: string
  is_current: number
  created_at: number
}

export interface AliasTable {
  project: string
  function_name: string
  name: string
  version: number
  updated_at: number
}

export interface FunctionUrlTable {
  project: string
  function_name: string
  qualifier: string | null
  auth: string
  mode: string
  cors_json: string | null
  created_at: number
  updated_at: number
}

export interface KeyTable {
  id: string
  project: string
  name: string
  scopes_json: string
  created_at: number
  revoked_at: number | null
}

export interface SecretTable {
  project: string
  name: string
  revision: number
  sealed: Uint8Array
  created_at: number
  updated_at: number
}

export interface AuditTable {
  seq: Generated<number>
  project: string
  time: number
  actor: string
  action: string
  target: string
  detail_json: string
}
