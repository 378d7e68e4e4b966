import { AppError } from '../../../domain/error.ts'
import type { Key } from '../../../domain/project.ts'
import type { AuditDraft } from '../../../domain/store.ts'
import type { KeyTable } from '../schema.ts'
import { requireProject, writeAudit } from './context.ts'
import type { Context } from './context.ts'

export async function create(
  context: Context,
  draft: Omit<Key, 'createdAt' | 'revokedAt'>,
  audit: AuditDraft,
): Promise<Key> {
  const { id, project, name, scopes } = draft
  await requireProject(context, project)
  if ((await get(context, id)) !== null) throw new AppError('conflict', `Key "${id}" already exists.`)
  await context.db
    .insertInto('keys')
    .values({
      id,
      project,
      name,
      scopes_json: JSON.stringify(scopes),
      created_at: context.nowMs,
      revoked_at: null,
    })
    .execute()
  await writeAudit(context, project, audit)
  return { id, project, name, scopes, createdAt: context.nowMs, revokedAt: null }
}

export async function get({ db }: Context, id: string): Promise<Key | null> {
  const row = await db.selectFrom('keys').selectAll().where('id', '=', id).executeTakeFirst()
  return row === undefined ? null : toKey(row)
}

export async function list({ db }: Context, project: string): Promise<readonly Key[]> {
  const rows = await db
    .selectFrom('keys')
    .selectAll()
    .where('project', '=', project)
    .orderBy('created_at')
    .orderBy('id')
    .execute()
  return rows.map(toKey)
}

/** Revoking twice keeps the first time and changes nothing, so it is not audited again. */
export async function revoke(context: Context, project: string, id: string, audit: AuditDraft): Promise<Key> {
  const key = await get(context, id)
  if (key === null || key.project !== project) {
    throw new AppError('not_found', `Key "${id}" does not exist in project "${project}".`)
  }
  if (key.revokedAt !== null) return key
  await context.db.updateTable('keys').set({ revoked_at: context.nowMs }).where('id', '=', id).execute()
  await writeAudit(context, project, audit)
  return { ...key, revokedAt: context.nowMs }
}

function toKey(row: KeyTable): Key {
  const scopes: readonly string[] = JSON.parse(row.scopes_json)
  return {
    id: row.id,
    project: row.project,
    name: row.name,
    scopes,
    createdAt: row.created_at,
    revokedAt: row.revoked_at,
  }
}
