import { AppError } from '../../../domain/error.ts'
import type { Project, ProjectQuotas } from '../../../domain/project.ts'
import type { AuditDraft } from '../../../domain/store.ts'
import type { ProjectTable } from '../schema.ts'
import { writeAudit } from './context.ts'
import type { Context } from './context.ts'

export async function create(
  context: Context,
  name: string,
  quotas: ProjectQuotas,
  audit: AuditDraft,
): Promise<Project> {
  if ((await get(context, name)) !== null) throw new AppError('conflict', `Project "${name}" already exists.`)
  const { functionsMax, concurrencyMax } = quotas
  await context.db
    .insertInto('projects')
    .values({ name, created_at: context.nowMs, functions_max: functionsMax, concurrency_max: concurrencyMax })
    .execute()
  await writeAudit(context, name, audit)
  return { name, createdAt: context.nowMs, quotas: { functionsMax, concurrencyMax } }
}

export async function get({ db }: Context, name: string): Promise<Project | null> {
  const row = await db.selectFrom('projects').selectAll().where('name', '=', name).executeTakeFirst()
  return row === undefined ? null : toProject(row)
}

export async function list({ db }: Context): Promise<readonly Project[]> {
  const rows = await db.selectFrom('projects').selectAll().orderBy('name').execute()
  return rows.map(toProject)
}

function toProject(row: ProjectTable): Project {
  return {
    name: row.name,
    createdAt: row.created_at,
    quotas: { functionsMax: row.functions_max, concurrencyMax: row.concurrency_max },
  }
}
