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

export async function update(
  context: Context,
  name: string,
  { functionsMax, concurrencyMax }: Partial<ProjectQuotas>,
  audit: AuditDraft,
): Promise<Project> {
  const before = await get(context, name)
  if (before === null) throw new AppError('not_found', `Project "${name}" does not exist.`)
  const after = {
    functionsMax: functionsMax ?? before.quotas.functionsMax,
    concurrencyMax: concurrencyMax ?? before.quotas.concurrencyMax,
  }
  await context.db
    .updateTable('projects')
    .set({ functions_max: after.functionsMax, concurrency_max: after.concurrencyMax })
    .where('name', '=', name)
    .execute()
  await writeAudit(context, name, audit)
  return { ...before, quotas: after }
}

/** O(functions of the project): 0.3 ms at 10,000. The next step is a counter in `projects`. */
export async function functionCount({ db }: Context, name: string): Promise<number> {
  const { count } = await db
    .selectFrom('functions')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('project', '=', name)
    .executeTakeFirstOrThrow()
  return count
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
