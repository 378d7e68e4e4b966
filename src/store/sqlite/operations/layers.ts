import type { Digest } from '../../../domain/artifact.ts'
import type { CodeOrigin } from '../../../domain/code-source.ts'
import { AppError } from '../../../domain/error.ts'
import { layerText, type LayerRef, type LayerVersion } from '../../../domain/layer.ts'
import type { AuditDraft, Page, PageRequest } from '../../../domain/store.ts'
import { rowsToRead, textAfter, toPage } from '../cursor.ts'
import type { LayerVersionTable } from '../schema.ts'
import { requireProject, writeAudit } from './context.ts'
import type { Context } from './context.ts'
import { sql } from 'kysely'

export async function publish(
  context: Context,
  draft: Omit<LayerVersion, 'number' | 'createdAt'>,
  audit: AuditDraft,
): Promise<LayerVersion> {
  const { db, nowMs } = context
  const { project, name } = draft
  await requireProject(context, project)
  // The count stays when versions go: no number is given out twice.
  const { version_count: number } = await db
    .insertInto('layers')
    .values({ project, name, version_count: 1 })
    .onConflict((conflict) =>
      conflict
        .columns(['project', 'name'])
        .doUpdateSet((eb) => ({ version_count: eb('layers.version_count', '+', 1) })),
    )
    .returning('version_count')
    .executeTakeFirstOrThrow()
  const row: LayerVersionTable = {
    ...{ project, name, number, description: draft.description, runtimes_json: JSON.stringify(draft.runtimes) },
    ...{ digest: draft.digest, bytes: draft.bytes, unpacked_bytes: draft.unpackedBytes, created_at: nowMs },
    origin_json: draft.origin === null ? null : JSON.stringify(draft.origin),
  }
  await db.insertInto('layer_versions').values(row).execute()
  await writeAudit(context, project, audit)
  return toLayer(row)
}

export async function get({ db }: Context, project: string, ref: LayerRef): Promise<LayerVersion | null> {
  const row = await db
    .selectFrom('layer_versions')
    .selectAll()
    .where('project', '=', project)
    .where('name', '=', ref.name)
    .where('number', '=', ref.number)
    .executeTakeFirst()
  return row === undefined ? null : toLayer(row)
}

export async function list({ db }: Context, project: string, page: PageRequest): Promise<Page<LayerVersion>> {
  const after = textAfter('layers', page)
  let query = db
    .selectFrom('layer_versions as l')
    .selectAll('l')
    .where('l.project', '=', project)
    .where('l.number', '=', (eb) =>
      eb
        .selectFrom('layer_versions as n')
        .select(sql<number>`max(n.number)`.as('number'))
        .whereRef('n.project', '=', 'l.project')
        .whereRef('n.name', '=', 'l.name'),
    )
    .orderBy('l.name')
    .limit(rowsToRead(page))
  if (after !== undefined) query = query.where('l.name', '>', after)
  return toPage(await query.execute(), page, { list: 'layers', key: (row) => row.name, item: toLayer })
}

export async function versions({ db }: Context, project: string, name: string): Promise<readonly LayerVersion[]> {
  const rows = await db
    .selectFrom('layer_versions')
    .selectAll()
    .where('project', '=', project)
    .where('name', '=', name)
    .orderBy('number', 'desc')
    .execute()
  return rows.map(toLayer)
}

export async function remove(context: Context, project: string, ref: LayerRef, audit: AuditDraft): Promise<Digest> {
  const found = await get(context, project, ref)
  if (found === null) throw new AppError('not_found', `There is no layer "${layerText(ref)}".`)
  await context.db
    .deleteFrom('layer_versions')
    .where('project', '=', project)
    .where('name', '=', ref.name)
    .where('number', '=', ref.number)
    .execute()
  await writeAudit(context, project, audit)
  return found.digest
}

function toLayer(row: LayerVersionTable): LayerVersion {
  const runtimes: readonly string[] = JSON.parse(row.runtimes_json)
  const origin: CodeOrigin | null = JSON.parse(row.origin_json ?? 'null')
  const { project, name, number, description, digest, bytes } = row
  const rest = { unpackedBytes: row.unpacked_bytes, origin, createdAt: row.created_at }
  return { project, name, number, description, runtimes, digest, bytes, ...rest }
}
