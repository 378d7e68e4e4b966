import { AppError } from '../../../domain/error.ts'
import type { AuditDraft } from '../../../domain/store.ts'
import type { Schema } from '../schema.ts'
import type { Kysely } from 'kysely'

/** What every operation works with. `nowMs` is the caller's clock, so that tests move time by hand. */
export interface Context {
  readonly db: Kysely<Schema>
  readonly nowMs: number
}

/** Runs inside the transaction of the mutation it describes: both are on disk or neither is. */
export async function writeAudit({ db, nowMs }: Context, project: string, draft: AuditDraft): Promise<void> {
  await db
    .insertInto('audit')
    .values({
      project,
      time: nowMs,
      actor: draft.actor,
      action: draft.action,
      target: draft.target,
      detail_json: JSON.stringify(draft.detail),
    })
    .execute()
}

export async function requireProject({ db }: Context, project: string): Promise<{ functionsMax: number }> {
  const row = await db.selectFrom('projects').select('functions_max').where('name', '=', project).executeTakeFirst()
  if (row === undefined) throw new AppError('not_found', `Project "${project}" does not exist.`)
  return { functionsMax: row.functions_max }
}
