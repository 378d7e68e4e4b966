import { AppError } from '../../../domain/error.ts'
import type { DeployedVersion, FunctionRecord } from '../../../domain/function.ts'
import type { AuditDraft, FunctionWithVersion, NewVersion, Pending } from '../../../domain/store.ts'
import { writeAudit } from './context.ts'
import type { Context } from './context.ts'
import { holdLatest, insertVersion, toVersion } from './function-rows.ts'
import { requireFunction, requireVersion, setRecord } from './functions.ts'

/* Versions that are accepted before they can run. */

export async function accept(
  context: Context,
  draft: NewVersion,
  audit: AuditDraft,
  pending: Pending,
): Promise<FunctionWithVersion> {
  const { project, functionName: name } = draft
  const { record } = await requireFunction(context, project, name)
  const number = record.versionCount + 1
  await insertVersion(context, draft, { number, pending })
  await setRecord(context, record, { latest: record.latest, versionCount: number })
  await writeAudit(context, project, audit)
  const { record: after } = await requireFunction(context, project, name)
  return { record: after, version: await requireVersion(context, project, name, number) }
}

export async function settle(
  context: Context,
  { project, name, number }: { project: string; name: string; number: number },
  failure: string | null,
  audit: AuditDraft,
): Promise<FunctionRecord> {
  const { record } = await requireFunction(context, project, name)
  const version = await requireVersion(context, project, name, number)
  if (version.state !== 'pending')
    throw new AppError('conflict', `Version ${number} of function "${name}" is ${version.state} already.`)
  const { moves_latest: movesLatest } = await context.db
    .updateTable('versions')
    .set({ state: failure === null ? 'active' : 'failed', state_reason: failure })
    .where('project', '=', project)
    .where('function_name', '=', name)
    .where('number', '=', number)
    .returning('moves_latest')
    .executeTakeFirstOrThrow()
  const isLatest = failure === null && movesLatest === 1
  await setRecord(context, record, { latest: isLatest ? number : record.latest, versionCount: record.versionCount })
  if (isLatest) await holdLatest(context, { project, name, before: number })
  await writeAudit(context, project, audit)
  return (await requireFunction(context, project, name)).record
}

export async function pending({ db }: Context): Promise<readonly (Pending & { version: DeployedVersion })[]> {
  const rows = await db
    .selectFrom('versions')
    .selectAll()
    .where('state', '=', 'pending')
    .orderBy('created_at')
    .execute()
  return rows.map((row) => ({ version: toVersion(row), mustLoad: row.must_load === 1 }))
}
