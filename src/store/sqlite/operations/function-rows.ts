import type { Digest } from '../../../domain/artifact.ts'
import type { CodeOrigin } from '../../../domain/code-source.ts'
import type { PinnedLayer } from '../../../domain/layer.ts'
import { directContract } from '../../../domain/default-config.ts'
import type { FunctionConfig, FunctionRecord, DeployedVersion, VersionState } from '../../../domain/function.ts'
import type { FunctionWithVersion, NewVersion, Pending } from '../../../domain/store.ts'
import type { Schema, VersionTable } from '../schema.ts'
import type { Context } from './context.ts'
import type { Kysely, Selectable } from 'kysely'

/* Rows of functions and versions, and what they mean in the domain. */

/** Functions with the version `$LATEST` means (`v`) and the state of their newest one (`n`). */
export function functionRows(db: Kysely<Schema>) {
  return (
    db
      .selectFrom('functions as f')
      .innerJoin('versions as v', (join) =>
        join
          .onRef('v.project', '=', 'f.project')
          .onRef('v.function_name', '=', 'f.name')
          .onRef('v.number', '=', 'f.latest'),
      )
      // It may have been deleted.
      .leftJoin('versions as n', (join) =>
        join
          .onRef('n.project', '=', 'f.project')
          .onRef('n.function_name', '=', 'f.name')
          .onRef('n.number', '=', 'f.version_count'),
      )
      .selectAll('v')
      .select([
        'f.name',
        'f.latest',
        'f.version_count',
        'f.created_at as function_created_at',
        'f.updated_at as function_updated_at',
        'n.state as newest_state',
        'n.state_reason as newest_reason',
      ])
  )
}

type VersionRow = Selectable<VersionTable>

interface FunctionRow extends VersionRow {
  name: string
  latest: number
  version_count: number
  function_created_at: number
  function_updated_at: number
  newest_state: VersionState | null
  newest_reason: string | null
}

export function toFunctionWithVersion(row: FunctionRow): FunctionWithVersion {
  return { record: toRecord(row), version: toVersion(row) }
}

function toRecord(row: FunctionRow): FunctionRecord {
  const { newest_state: state, newest_reason: reason, version_count: newest, latest } = row
  return {
    project: row.project,
    name: row.name,
    latest,
    versionCount: newest,
    update: state === null || state === 'active' || newest === latest ? null : { version: newest, state, reason },
    createdAt: row.function_created_at,
    updatedAt: row.function_updated_at,
  }
}

/** What rows from before there were contracts and layers lack. */
const olderConfig = { ...directContract, instanceConcurrency: 1, layers: [] }

export function toVersion(row: VersionRow): DeployedVersion {
  const config: FunctionConfig = { ...olderConfig, ...JSON.parse(row.config_json) }
  const codeOrigin: CodeOrigin | null = JSON.parse(row.code_origin_json ?? 'null')
  const layers: readonly PinnedLayer[] = JSON.parse(row.layers_json)
  return {
    project: row.project,
    functionName: row.function_name,
    number: row.number,
    config,
    codeDigest: row.code_digest,
    codeBytes: row.code_bytes,
    codeOrigin,
    layers,
    runtimeId: row.runtime_id,
    runtimeVersion: row.runtime_version,
    runtimeDigest: row.runtime_digest,
    policyDigest: row.policy_digest,
    createdAt: row.created_at,
    state: row.state,
    stateReason: row.state_reason,
  }
}

/** What Versions name as code and as layers, each combination once. */
export function filesQuery(db: Kysely<Schema>) {
  return db.selectFrom('versions').select(['code_digest', 'layers_json']).distinct()
}

export function digestsOf(rows: readonly Pick<VersionRow, 'code_digest' | 'layers_json'>[]): readonly Digest[] {
  const digests = rows.flatMap(({ code_digest: code, layers_json: json }) => {
    const layers: readonly PinnedLayer[] = JSON.parse(json)
    return [code, ...layers.map(({ digest }) => digest)]
  })
  return [...new Set(digests)]
}

/** Adds a Version; `pending` null = active from the start. */
export async function insertVersion(
  { db, nowMs }: Context,
  draft: NewVersion,
  { number, pending }: { number: number; pending: Pending | null },
): Promise<void> {
  const { project, functionName } = draft
  await db
    .insertInto('versions')
    .values({
      project,
      function_name: functionName,
      number,
      config_json: JSON.stringify(draft.config),
      code_digest: draft.codeDigest,
      code_bytes: draft.codeBytes,
      code_origin_json: draft.codeOrigin === null ? null : JSON.stringify(draft.codeOrigin),
      layers_json: JSON.stringify(draft.layers),
      runtime_id: draft.runtimeId,
      runtime_version: draft.runtimeVersion,
      runtime_digest: draft.runtimeDigest,
      policy_digest: draft.policyDigest,
      created_at: nowMs,
      state: pending === null ? 'active' : 'pending',
      state_reason: null,
      must_load: pending?.mustLoad === true ? 1 : 0,
      moves_latest: pending === null ? 0 : 1,
    })
    .execute()
  const secrets = [...new Set(Object.values(draft.config.secrets))]
  if (secrets.length === 0) return
  await db
    .insertInto('version_secrets')
    .values(secrets.map((secret) => ({ project, function_name: functionName, number, secret })))
    .execute()
}

/** What is pending no longer moves `$LATEST` when it is ready: that was pointed elsewhere meanwhile. */
export async function holdLatest(
  { db }: Context,
  { project, name, before }: { project: string; name: string; before: number },
): Promise<void> {
  await db
    .updateTable('versions')
    .set({ moves_latest: 0 })
    .where('project', '=', project)
    .where('function_name', '=', name)
    .where('state', '=', 'pending')
    .where('number', '<', before)
    .execute()
}
