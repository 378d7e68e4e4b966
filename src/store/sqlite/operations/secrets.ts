import { AppError } from '../../../domain/error.ts'
import { versionKey, type VersionRef } from '../../../domain/function.ts'
import type { SecretInfo } from '../../../domain/project.ts'
import type { AuditDraft } from '../../../domain/store.ts'
import type { SecretTable } from '../schema.ts'
import { requireProject, writeAudit } from './context.ts'
import type { Context } from './context.ts'

type SecretInfoRow = Omit<SecretTable, 'sealed'>

const infoColumns = ['project', 'name', 'revision', 'created_at', 'updated_at'] as const

export async function set(
  context: Context,
  project: string,
  name: string,
  sealed: Uint8Array,
  audit: AuditDraft,
): Promise<SecretInfo> {
  const { db, nowMs } = context
  await requireProject(context, project)
  const row = await db
    .insertInto('secrets')
    .values({ project, name, revision: 1, sealed, created_at: nowMs, updated_at: nowMs })
    .onConflict((conflict) =>
      conflict
        .columns(['project', 'name'])
        .doUpdateSet((eb) => ({ revision: eb('secrets.revision', '+', 1), sealed, updated_at: nowMs })),
    )
    .returning(infoColumns)
    .executeTakeFirstOrThrow()
  await writeAudit(context, project, audit)
  return toSecretInfo(row)
}

export async function sealed(
  { db }: Context,
  project: string,
  names: readonly string[],
): Promise<ReadonlyMap<string, Uint8Array>> {
  if (names.length === 0) return new Map()
  const rows = await db
    .selectFrom('secrets')
    .select(['name', 'sealed'])
    .where('project', '=', project)
    .where('name', 'in', names)
    .execute()
  return new Map(rows.map((row) => [row.name, row.sealed]))
}

export async function list({ db }: Context, project: string): Promise<readonly SecretInfo[]> {
  const rows = await db
    .selectFrom('secrets')
    .select(infoColumns)
    .where('project', '=', project)
    .orderBy('name')
    .execute()
  return rows.map(toSecretInfo)
}

export async function users(context: Context, project: string, name: string): Promise<readonly VersionRef[]> {
  const refs = (await usersOf(context, project, name)).map(({ function_name: functionName, number }) => {
    return { project, functionName, number }
  })
  return [...new Map(refs.map((ref) => [versionKey(ref), ref])).values()]
}

export async function remove(context: Context, project: string, name: string, audit: AuditDraft): Promise<void> {
  const { db } = context
  const row = await db
    .selectFrom('secrets')
    .select('name')
    .where('project', '=', project)
    .where('name', '=', name)
    .executeTakeFirst()
  if (row === undefined) {
    throw new AppError('not_found', `Secret "${name}" does not exist in project "${project}".`)
  }
  const users = [...new Set((await usersOf(context, project, name)).flatMap(namesOf))].toSorted()
  if (users.length > 0) {
    throw new AppError(
      'conflict',
      `Cannot delete secret "${name}": it is used by ${listOf(users)}. Publish versions without it first.`,
    )
  }
  await db.deleteFrom('secrets').where('project', '=', project).where('name', '=', name).execute()
  await writeAudit(context, project, audit)
}

/** A row for each alias of every Version that names the secret and is reachable or about to be, one for a Version without aliases. */
async function usersOf({ db }: Context, project: string, secret: string) {
  return db
    .selectFrom('version_secrets as s')
    .innerJoin('versions as v', (join) =>
      join
        .onRef('v.project', '=', 's.project')
        .onRef('v.function_name', '=', 's.function_name')
        .onRef('v.number', '=', 's.number'),
    )
    .innerJoin('functions as f', (join) =>
      join.onRef('f.project', '=', 's.project').onRef('f.name', '=', 's.function_name'),
    )
    .leftJoin('aliases as a', (join) =>
      join
        .onRef('a.project', '=', 's.project')
        .onRef('a.function_name', '=', 's.function_name')
        .onRef('a.version', '=', 's.number'),
    )
    .select(['s.function_name', 's.number', 'v.state', 'f.latest', 'a.name as alias'])
    .where('s.project', '=', project)
    .where('s.secret', '=', secret)
    .where((eb) =>
      eb.or([eb('v.state', '=', 'pending'), eb('f.latest', '=', eb.ref('s.number')), eb('a.name', 'is not', null)]),
    )
    .execute()
}

type UserRow = Awaited<ReturnType<typeof usersOf>>[number]

/** `function:$LATEST`, `function:alias`, and `function:number` of what is pending. */
function namesOf({ function_name: name, number, state, latest, alias }: UserRow): string[] {
  return [
    ...(state === 'pending' ? [`${name}:${number}`] : []),
    ...(latest === number ? [`${name}:$LATEST`] : []),
    ...(alias === null ? [] : [`${name}:${alias}`]),
  ]
}

function listOf(users: readonly string[]): string {
  const shown = users.slice(0, 10).map((user) => `"${user}"`)
  return users.length > shown.length ? `${shown.join(', ')} and ${users.length - shown.length} more` : shown.join(', ')
}

function toSecretInfo(row: SecretInfoRow): SecretInfo {
  return {
    project: row.project,
    name: row.name,
    revision: row.revision,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }
}
