import { AppError } from '../../../domain/error.ts'
import type { Alias } from '../../../domain/function.ts'
import type { AuditDraft } from '../../../domain/store.ts'
import type { AliasTable } from '../schema.ts'
import { writeAudit } from './context.ts'
import type { Context } from './context.ts'
import { requireActiveVersion, requireFunction } from './functions.ts'

export async function set(context: Context, draft: Omit<Alias, 'updatedAt'>, audit: AuditDraft): Promise<Alias> {
  const { project, functionName, name, version } = draft
  await requireFunction(context, project, functionName)
  await requireActiveVersion(context, project, functionName, version)
  await context.db
    .insertInto('aliases')
    .values({ project, function_name: functionName, name, version, updated_at: context.nowMs })
    .onConflict((conflict) =>
      conflict.columns(['project', 'function_name', 'name']).doUpdateSet({ version, updated_at: context.nowMs }),
    )
    .execute()
  await writeAudit(context, project, audit)
  return { project, functionName, name, version, updatedAt: context.nowMs }
}

export async function get({ db }: Context, project: string, functionName: string, name: string): Promise<Alias | null> {
  const row = await db
    .selectFrom('aliases')
    .selectAll()
    .where('project', '=', project)
    .where('function_name', '=', functionName)
    .where('name', '=', name)
    .executeTakeFirst()
  return row === undefined ? null : toAlias(row)
}

export async function list({ db }: Context, project: string, functionName: string): Promise<readonly Alias[]> {
  const rows = await db
    .selectFrom('aliases')
    .selectAll()
    .where('project', '=', project)
    .where('function_name', '=', functionName)
    .orderBy('name')
    .execute()
  return rows.map(toAlias)
}

export async function remove(
  context: Context,
  project: string,
  functionName: string,
  name: string,
  audit: AuditDraft,
): Promise<void> {
  if ((await get(context, project, functionName, name)) === null) {
    throw new AppError('not_found', `Function "${functionName}" has no alias "${name}".`)
  }
  await context.db
    .deleteFrom('aliases')
    .where('project', '=', project)
    .where('function_name', '=', functionName)
    .where('name', '=', name)
    .execute()
  await writeAudit(context, project, audit)
}

function toAlias(row: AliasTable): Alias {
  return {
    project: row.project,
    functionName: row.function_name,
    name: row.name,
    version: row.version,
    updatedAt: row.updated_at,
  }
}
