import type { Digest } from '../../../domain/artifact.ts'
import { AppError } from '../../../domain/error.ts'
import { limits } from '../../../domain/limits.ts'
import { s3Url, type Bucket, type ObjectRef, type StoredObject } from '../../../domain/storage.ts'
import type { AuditDraft, Page, PageRequest } from '../../../domain/store.ts'
import { rowsToRead, textAfter, toPage } from '../cursor.ts'
import type { BucketTable, ObjectTable } from '../schema.ts'
import { requireProject, writeAudit } from './context.ts'
import type { Context } from './context.ts'
import { digestsOf, filesQuery } from './function-rows.ts'
import { sql } from 'kysely'

/** Greater than every character that a key may hold. */
const lastCharacter = '\u{10FFFF}'

export async function put(
  context: Context,
  draft: Omit<StoredObject, 'createdAt'>,
  audit: AuditDraft,
): Promise<{ object: StoredObject; dropped: readonly Digest[] }> {
  const { db, nowMs } = context
  const { project, bucket: bucketName, key } = draft
  await requireProject(context, project)
  await ensureBucket(context, project, bucketName)
  const before = await rowsOf(context, draft)
  await rowQuery(db.updateTable('objects').set({ is_current: 0 }), draft).execute()
  const row: ObjectTable = {
    ...{ project, bucket: bucketName, key, seq: (before[0]?.seq ?? 0) + 1, version_id: draft.versionId },
    ...{ digest: draft.digest, bytes: draft.bytes, etag: draft.etag, is_current: 1, created_at: nowMs },
  }
  await db.insertInto('objects').values(row).execute()
  const old = before.slice(limits.storage.versionsMax - 1)
  for (const { seq } of old) await rowQuery(db.deleteFrom('objects'), draft).where('seq', '=', seq).execute()
  await writeAudit(context, project, audit)
  return { object: toObject(row), dropped: old.map(({ digest }) => digest) }
}

export async function get(context: Context, project: string, ref: ObjectRef): Promise<StoredObject | null> {
  const found = (await rowsOf(context, { project, ...ref })).find((row) =>
    ref.versionId === null ? row.is_current === 1 : row.version_id === ref.versionId,
  )
  return found === undefined ? null : toObject(found)
}

export async function bucket({ db }: Context, project: string, name: string): Promise<Bucket | null> {
  const row = await db
    .selectFrom('buckets')
    .selectAll()
    .where('project', '=', project)
    .where('name', '=', name)
    .executeTakeFirst()
  return row === undefined ? null : toBucket(row)
}

export async function buckets({ db }: Context, project: string): Promise<readonly Bucket[]> {
  const rows = await db.selectFrom('buckets').selectAll().where('project', '=', project).orderBy('name').execute()
  return rows.map(toBucket)
}

export async function list(
  { db }: Context,
  { project, bucket: bucketName, prefix }: { project: string; bucket: string; prefix: string },
  page: PageRequest,
): Promise<Page<StoredObject>> {
  const after = textAfter('objects', page)
  let query = db
    .selectFrom('objects')
    .selectAll()
    .where('project', '=', project)
    .where('bucket', '=', bucketName)
    .where('is_current', '=', 1)
    .where('key', '>=', prefix)
    .where('key', '<', `${prefix}${lastCharacter}`)
    .orderBy('key')
    .limit(rowsToRead(page))
  if (after !== undefined) query = query.where('key', '>', after)
  return toPage(await query.execute(), page, { list: 'objects', key: (row) => row.key, item: toObject })
}

export async function versions(
  context: Context,
  project: string,
  bucketName: string,
  key: string,
): Promise<readonly StoredObject[]> {
  return (await rowsOf(context, { project, bucket: bucketName, key })).map(toObject)
}

export async function remove(
  context: Context,
  project: string,
  ref: ObjectRef,
  audit: AuditDraft,
): Promise<readonly Digest[]> {
  const { db } = context
  const at = { project, bucket: ref.bucket, key: ref.key }
  const rows = await rowsOf(context, at)
  const doomed = ref.versionId === null ? rows : rows.filter((row) => row.version_id === ref.versionId)
  if (doomed.length === 0) throw new AppError('not_found', `There is no object "${s3Url(ref)}".`)
  for (const { seq } of doomed) await rowQuery(db.deleteFrom('objects'), at).where('seq', '=', seq).execute()
  const newest = rows.find((row) => !doomed.includes(row))
  if (newest !== undefined)
    await rowQuery(db.updateTable('objects').set({ is_current: 1 }), at)
      .where('seq', '=', newest.seq)
      .execute()
  else await dropEmptyBucket(context, project, ref.bucket)
  await writeAudit(context, project, audit)
  return doomed.map(({ digest }) => digest)
}

export async function names({ db }: Context, digest: Digest): Promise<boolean> {
  const object = await db.selectFrom('objects').select('seq').where('digest', '=', digest).limit(1).execute()
  if (object.length > 0) return true
  const layer = await db.selectFrom('layer_versions').select('number').where('digest', '=', digest).limit(1).execute()
  if (layer.length > 0) return true
  const code = await db.selectFrom('versions').select('number').where('code_digest', '=', digest).limit(1).execute()
  if (code.length > 0) return true
  // O(Versions): 10 ms at 10,000, at the deletion of what nothing else names.
  const pinned = await db
    .selectFrom('versions')
    .select('number')
    .where(({ eb }) => eb(sql`instr(layers_json, ${digest})`, '>', 0))
    .limit(1)
    .execute()
  return pinned.length > 0
}

export async function named({ db }: Context): Promise<readonly Digest[]> {
  const objects = await db.selectFrom('objects').select('digest').distinct().execute()
  const layers = await db.selectFrom('layer_versions').select('digest').distinct().execute()
  const ofVersions = digestsOf(await filesQuery(db).execute())
  return [...new Set([...objects, ...layers].map(({ digest }) => digest).concat(ofVersions))]
}

async function ensureBucket(context: Context, project: string, name: string): Promise<void> {
  const { db, nowMs } = context
  if ((await bucket(context, project, name)) !== null) return
  const { bucketsMax } = limits.storage
  if ((await buckets(context, project)).length >= bucketsMax)
    throw new AppError(
      'capacity',
      `Cannot make bucket "${name}": project "${project}" already has its maximum of ${bucketsMax} buckets.`,
      { retryable: false },
    )
  await db.insertInto('buckets').values({ project, name, created_at: nowMs }).execute()
}

async function dropEmptyBucket({ db }: Context, project: string, name: string): Promise<void> {
  await db
    .deleteFrom('buckets')
    .where('project', '=', project)
    .where('name', '=', name)
    .where((eb) =>
      eb.not(
        eb.exists(
          eb
            .selectFrom('objects')
            .select(sql`1`.as('one'))
            .where('objects.project', '=', project)
            .where('objects.bucket', '=', name),
        ),
      ),
    )
    .execute()
}

interface At {
  readonly project: string
  readonly bucket: string
  readonly key: string
}

/** All versions, newest first: at most `limits.storage.versionsMax`. */
async function rowsOf({ db }: Context, at: At): Promise<ObjectTable[]> {
  return rowQuery(db.selectFrom('objects').selectAll().orderBy('seq', 'desc'), at).execute()
}

/** Narrows any query of the table to one object. */
function rowQuery<Q extends { where(column: 'project' | 'bucket' | 'key', operator: '=', value: string): Q }>(
  query: Q,
  { project, bucket: bucketName, key }: At,
): Q {
  return query.where('project', '=', project).where('bucket', '=', bucketName).where('key', '=', key)
}

function toBucket({ project, name, created_at: createdAt }: BucketTable): Bucket {
  return { project, name, createdAt }
}

function toObject(row: ObjectTable): StoredObject {
  const { project, bucket: bucketName, key, digest, bytes, etag } = row
  return { project, bucket: bucketName, key, versionId: row.version_id, digest, bytes, etag, createdAt: row.created_at }
}
