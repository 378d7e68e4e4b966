import { sql } from 'kysely'
import { AppError } from '../../../domain/error.ts'
import { urlAuths, urlModes, type CorsConfig, type FunctionUrl } from '../../../domain/function-url.ts'
import type { AuditDraft } from '../../../domain/store.ts'
import type { FunctionUrlTable } from '../schema.ts'
import { writeAudit, type Context } from './context.ts'
import { requireFunction } from './functions.ts'

export type UrlDraft = Omit<FunctionUrl, 'createdAt' | 'updatedAt'>

export async function set(context: Context, draft: UrlDraft, audit: AuditDraft): Promise<FunctionUrl> {
  const { project, functionName, qualifier, auth, mode, cors } = draft
  await requireFunction(context, project, functionName)
  const known = await get(context, project, functionName)
  const now = context.nowMs
  const changes = { qualifier, auth, mode, cors_json: cors === null ? null : JSON.stringify(cors), updated_at: now }
  await context.db
    .insertInto('function_urls')
    .values({ project, function_name: functionName, created_at: now, ...changes })
    .onConflict((conflict) => conflict.columns(['project', 'function_name']).doUpdateSet(changes))
    .execute()
  await writeAudit(context, project, audit)
  return { ...draft, createdAt: known?.createdAt ?? now, updatedAt: now }
}

export async function get({ db }: Context, project: string, functionName: string): Promise<FunctionUrl | null> {
  const row = await db
    .selectFrom('function_urls')
    .selectAll()
    .where('project', '=', project)
    .where('function_name', '=', functionName)
    .executeTakeFirst()
  return row === undefined ? null : toUrl(row)
}

/** By a name as hosts spell it: without upper case. Of two that differ in case alone, the one without upper case, else the first. */
export async function find({ db }: Context, project: string, name: string): Promise<FunctionUrl | null> {
  const row = await db
    .selectFrom('function_urls')
    .selectAll()
    .where('project', '=', project)
    .where(sql`lower(function_name)`, '=', name.toLowerCase())
    .orderBy(sql`function_name = ${name}`, 'desc')
    .orderBy('function_name')
    .executeTakeFirst()
  return row === undefined ? null : toUrl(row)
}

export async function list({ db }: Context, project: string): Promise<readonly FunctionUrl[]> {
  const rows = await db
    .selectFrom('function_urls')
    .selectAll()
    .where('project', '=', project)
    .orderBy('function_name')
    .execute()
  return rows.map(toUrl)
}

export async function remove(
  context: Context,
  project: string,
  functionName: string,
  audit: AuditDraft,
): Promise<void> {
  if ((await get(context, project, functionName)) === null)
    throw new AppError('not_found', `Function "${functionName}" has no URL.`)
  await context.db
    .deleteFrom('function_urls')
    .where('project', '=', project)
    .where('function_name', '=', functionName)
    .execute()
  await writeAudit(context, project, audit)
}

function toUrl(row: FunctionUrlTable): FunctionUrl {
  return {
    project: row.project,
    functionName: row.function_name,
    qualifier: row.qualifier,
    // A row that a newer release wrote is never opened to more people than it says.
    auth: urlAuths.find((auth) => auth === row.auth) ?? 'key',
    mode: urlModes.find((mode) => mode === row.mode) ?? 'buffered',
    cors: row.cors_json === null ? null : (JSON.parse(row.cors_json) as CorsConfig),
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }
}
