import type { Digest } from '../../../domain/artifact.ts'
import { AppError } from '../../../domain/error.ts'
import type { DeployedVersion, FunctionRecord } from '../../../domain/function.ts'
import { functionsFull } from '../../../domain/project.ts'
import type { AuditDraft, FunctionWithVersion, NewVersion, Page, PageRequest, Pending } from '../../../domain/store.ts'
import { numberAfter, rowsToRead, textAfter, toPage } from '../cursor.ts'
import { requireProject, writeAudit } from './context.ts'
import type { Context } from './context.ts'
import {
  digestsOf,
  filesQuery,
  functionRows,
  holdLatest,
  insertVersion,
  toFunctionWithVersion,
  toVersion,
} from './function-rows.ts'
import { functionCount } from './projects.ts'

export async function create(
  context: Context,
  draft: NewVersion,
  audit: AuditDraft,
  pending?: Pending,
): Promise<FunctionWithVersion> {
  const { db, nowMs } = context
  const { project, functionName: name } = draft
  const { functionsMax } = await requireProject(context, project)
  if ((await get(context, project, name)) !== null) {
    throw new AppError('conflict', `Function "${name}" already exists in project "${project}". Update it instead.`)
  }
  if ((await functionCount(context, project)) >= functionsMax) throw functionsFull(project, name, functionsMax)
  await db
    .insertInto('functions')
    .values({ project, name, latest: 1, version_count: 1, created_at: nowMs, updated_at: nowMs })
    .execute()
  await insertVersion(context, draft, { number: 1, pending: pending ?? null })
  await writeAudit(context, project, audit)
  return requireFunction(context, project, name)
}

export async function publish(
  context: Context,
  draft: NewVersion,
  audit: AuditDraft,
  expectLatest?: number,
): Promise<FunctionWithVersion> {
  const { project, functionName: name } = draft
  const { record } = await requireFunction(context, project, name)
  if (expectLatest !== undefined && record.latest !== expectLatest) {
    throw new AppError(
      'conflict',
      `Function "${name}" changed meanwhile: version ${record.latest} is current, not ${expectLatest}. Look at it and update again.`,
    )
  }
  const number = record.versionCount + 1
  await insertVersion(context, draft, { number, pending: null })
  await setRecord(context, record, { latest: number, versionCount: number })
  await holdLatest(context, { project, name, before: number })
  await writeAudit(context, project, audit)
  return requireFunction(context, project, name)
}

export async function setLatest(
  context: Context,
  project: string,
  name: string,
  number: number,
  audit: AuditDraft,
): Promise<FunctionRecord> {
  const { record } = await requireFunction(context, project, name)
  await requireActiveVersion(context, project, name, number)
  await setRecord(context, record, { latest: number, versionCount: record.versionCount })
  await holdLatest(context, { project, name, before: record.versionCount + 1 })
  await writeAudit(context, project, audit)
  return (await requireFunction(context, project, name)).record
}

export async function get({ db }: Context, project: string, name: string): Promise<FunctionWithVersion | null> {
  const row = await functionRows(db).where('f.project', '=', project).where('f.name', '=', name).executeTakeFirst()
  return row === undefined ? null : toFunctionWithVersion(row)
}

export async function list({ db }: Context, project: string, page: PageRequest): Promise<Page<FunctionWithVersion>> {
  const after = textAfter('functions', page)
  let query = functionRows(db).where('f.project', '=', project).orderBy('f.name').limit(rowsToRead(page))
  if (after !== undefined) query = query.where('f.name', '>', after)
  const rows = await query.execute()
  return toPage(rows, page, { list: 'functions', key: (row) => row.name, item: toFunctionWithVersion })
}

export async function versions(
  { db }: Context,
  project: string,
  name: string,
  page: PageRequest,
): Promise<Page<DeployedVersion>> {
  const before = numberAfter('versions', page)
  let query = db
    .selectFrom('versions')
    .selectAll()
    .where('project', '=', project)
    .where('function_name', '=', name)
    .orderBy('number', 'desc')
    .limit(rowsToRead(page))
  if (before !== undefined) query = query.where('number', '<', before)
  const rows = await query.execute()
  return toPage(rows, page, { list: 'versions', key: (row) => row.number, item: toVersion })
}

export async function version(
  { db }: Context,
  project: string,
  name: string,
  number: number,
): Promise<DeployedVersion | null> {
  const row = await db
    .selectFrom('versions')
    .selectAll()
    .where('project', '=', project)
    .where('function_name', '=', name)
    .where('number', '=', number)
    .executeTakeFirst()
  return row === undefined ? null : toVersion(row)
}

/** Versions and aliases go with the row (`on delete cascade`). */
export async function remove(
  context: Context,
  project: string,
  name: string,
  audit: AuditDraft,
): Promise<readonly Digest[]> {
  await requireFunction(context, project, name)
  const { db } = context
  const rows = await filesQuery(db).where('project', '=', project).where('function_name', '=', name).execute()
  await db.deleteFrom('functions').where('project', '=', project).where('name', '=', name).execute()
  await writeAudit(context, project, audit)
  return digestsOf(rows)
}

/** Its row goes, its number is not given out again: that counts on from `version_count`. */
export async function removeVersion(
  context: Context,
  { project, name, number }: { project: string; name: string; number: number },
  audit: AuditDraft,
): Promise<readonly Digest[]> {
  const { db } = context
  const { record } = await requireFunction(context, project, name)
  const { state } = await requireVersion(context, project, name, number)
  const what = `Version ${number} of function "${name}"`
  const say = (why: string, retryable = false): AppError =>
    new AppError('conflict', `Cannot delete: ${what} ${why}`, { retryable })
  if (state === 'pending') throw say('is still being prepared.', true)
  if (record.latest === number) throw say('is what $LATEST means. Update the function or roll it back first.')
  const named = db.selectFrom('aliases').select('name').where('project', '=', project).where('function_name', '=', name)
  const aliases = (await named.where('version', '=', number).execute()).map((alias) => `"${alias.name}"`)
  if (aliases.length > 0)
    throw say(`has the alias ${aliases.join(', ')}. Point it to another version or delete it first.`)
  const urls = db.selectFrom('function_urls').select('qualifier').where('project', '=', project)
  const url = await urls.where('function_name', '=', name).where('qualifier', '=', String(number)).executeTakeFirst()
  if (url !== undefined) throw say("is where the function's URL leads. Change that first.")
  const ofVersion = { project, function_name: name, number }
  const rows = await filesQuery(db)
    .where((eb) => eb.and(ofVersion))
    .execute()
  await db
    .deleteFrom('versions')
    .where((eb) => eb.and(ofVersion))
    .execute()
  await writeAudit(context, project, audit)
  return digestsOf(rows)
}

export async function requireFunction(context: Context, project: string, name: string): Promise<FunctionWithVersion> {
  const found = await get(context, project, name)
  if (found === null) throw new AppError('not_found', `Function "${name}" does not exist in project "${project}".`)
  return found
}

export async function requireVersion(
  context: Context,
  project: string,
  name: string,
  number: number,
): Promise<DeployedVersion> {
  const found = await version(context, project, name, number)
  if (found === null) throw new AppError('not_found', `Function "${name}" has no version ${number}.`)
  return found
}

/** For what repoints: nothing may come to name a Version that cannot run. */
export async function requireActiveVersion(
  context: Context,
  project: string,
  name: string,
  number: number,
): Promise<void> {
  const { state, stateReason } = await requireVersion(context, project, name, number)
  if (state === 'pending')
    throw new AppError('conflict', `Version ${number} of function "${name}" is still being prepared.`, {
      retryable: true,
    })
  if (state === 'failed')
    throw new AppError('conflict', `Version ${number} of function "${name}" cannot run: ${stateReason}`)
}

export async function setRecord(
  { db, nowMs }: Context,
  { project, name }: FunctionRecord,
  { latest, versionCount }: { latest: number; versionCount: number },
): Promise<void> {
  await db
    .updateTable('functions')
    .set({ latest, version_count: versionCount, updated_at: nowMs })
    .where('project', '=', project)
    .where('name', '=', name)
    .execute()
}
