import type { AuditEntry } from '../../../domain/project.ts'
import type { AuditDraft, Page, PageRequest } from '../../../domain/store.ts'
import { numberAfter, rowsToRead, toPage } from '../cursor.ts'
import type { AuditTable } from '../schema.ts'
import { requireProject, writeAudit } from './context.ts'
import type { Context } from './context.ts'
import type { Selectable } from 'kysely'

export async function add(context: Context, project: string, entry: AuditDraft): Promise<void> {
  await requireProject(context, project)
  await writeAudit(context, project, entry)
}

export async function list({ db }: Context, project: string, page: PageRequest): Promise<Page<AuditEntry>> {
  const before = numberAfter('audit', page)
  let query = db
    .selectFrom('audit')
    .selectAll()
    .where('project', '=', project)
    .orderBy('seq', 'desc')
    .limit(rowsToRead(page))
  if (before !== undefined) query = query.where('seq', '<', before)
  const rows = await query.execute()
  return toPage(rows, page, { list: 'audit', key: (row) => row.seq, item: toAuditEntry })
}

function toAuditEntry(row: Selectable<AuditTable>): AuditEntry {
  const detail: Readonly<Record<string, unknown>> = JSON.parse(row.detail_json)
  return {
    seq: row.seq,
    time: row.time,
    project: row.project,
    actor: row.actor,
    action: row.action,
    target: row.target,
    detail,
  }
}
