import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

/** Every schema this build knows, oldest first. A released migration never changes: add the next one below. */
export const migrations: Readonly<Record<string, Migration>> = {
  '0001_first': { up: first },
  '0002_version_states': { up: async (db: Kysely<unknown>) => runAll(db, versionStates) },
  '0003_storage': { up: async (db: Kysely<unknown>) => runAll(db, storageTables) },
  '0004_code_origins': { up: async (db: Kysely<unknown>) => runAll(db, codeOrigins) },
  '0005_layers': { up: async (db: Kysely<unknown>) => runAll(db, layerTables) },
  '0006_function_urls': { up: async (db: Kysely<unknown>) => runAll(db, urlTables) },
}

async function first(db: Kysely<unknown>): Promise<void> {
  await runAll(db, firstTables)
}

async function runAll(db: Kysely<unknown>, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db)
}

const firstTables = [
  `create table meta (
    key text primary key,
    value text not null
  ) strict, without rowid`,
  `create table projects (
    name text primary key,
    created_at integer not null,
    functions_max integer not null,
    concurrency_max integer not null
  ) strict, without rowid`,
  `create table functions (
    project text not null references projects (name),
    name text not null,
    latest integer not null,
    version_count integer not null,
    created_at integer not null,
    updated_at integer not null,
    primary key (project, name)
  ) strict, without rowid`,
  `create table versions (
    project text not null,
    function_name text not null,
    number integer not null,
    config_json text not null,
    code_digest text not null,
    code_bytes integer not null,
    runtime_id text not null,
    runtime_version text not null,
    runtime_digest text not null,
    policy_digest text not null,
    created_at integer not null,
    primary key (project, function_name, number),
    foreign key (project, function_name) references functions (project, name) on delete cascade
  ) strict`,
  `create index versions_by_code on versions (code_digest)`,
  `create table version_secrets (
    project text not null,
    function_name text not null,
    number integer not null,
    secret text not null,
    primary key (project, secret, function_name, number),
    foreign key (project, function_name, number) references versions (project, function_name, number) on delete cascade
  ) strict, without rowid`,
  `create index version_secrets_by_version on version_secrets (project, function_name, number)`,
  `create table aliases (
    project text not null,
    function_name text not null,
    name text not null,
    version integer not null,
    updated_at integer not null,
    primary key (project, function_name, name),
    foreign key (project, function_name) references functions (project, name) on delete cascade
  ) strict, without rowid`,
  `create table keys (
    id text primary key,
    project text not null references projects (name),
    name text not null,
    scopes_json text not null,
    created_at integer not null,
    revoked_at integer
  ) strict, without rowid`,
  `create index keys_by_project on keys (project, created_at, id)`,
  `create table secrets (
    project text not null references projects (name),
    name text not null,
    revision integer not null,
    sealed blob not null,
    created_at integer not null,
    updated_at integer not null,
    primary key (project, name)
  ) strict`,
  `create table audit (
    seq integer primary key autoincrement,
    project text not null,
    time integer not null,
    actor text not null,
    action text not null,
    target text not null,
    detail_json text not null
  ) strict`,
  `create index audit_by_project on audit (project, seq)`,
]

/** Versions that are accepted before they can run. What was there before is active. */
const versionStates = [
  `alter table versions add column state text not null default 'active'`,
  `alter table versions add column state_reason text`,
  // Of a pending one: whether it must load before it is active, and whether $LATEST moves to it then.
  `alter table versions add column must_load integer not null default 0`,
  `alter table versions add column moves_latest integer not null default 0`,
  `create index versions_pending on versions (state) where state = 'pending'`,
]

/** Buckets and their objects: bytes are artifacts, named by digest. */
const storageTables = [
  `create table buckets (
    project text not null references projects (name),
    name text not null,
    created_at integer not null,
    primary key (project, name)
  ) strict, without rowid`,
  // `seq` orders the versions of one object; exactly one of them is current.
  `create table objects (
    project text not null,
    bucket text not null,
    key text not null,
    seq integer not null,
    version_id text not null,
    digest text not null,
    bytes integer not null,
    etag text not null,
    is_current integer not null,
    created_at integer not null,
    primary key (project, bucket, key, seq),
    foreign key (project, bucket) references buckets (project, name)
  ) strict, without rowid`,
  `create index objects_by_digest on objects (digest)`,
]

/** Where code came from that was not uploaded; null for what was. */
const codeOrigins = [`alter table versions add column code_origin_json text`]

/** Layers, and which of them a Version has: pinned, since a layer may go while the Version stays. */
const layerTables = [
  `create table layers (
    project text not null references projects (name),
    name text not null,
    version_count integer not null,
    primary key (project, name)
  ) strict, without rowid`,
  `create table layer_versions (
    project text not null,
    name text not null,
    number integer not null,
    description text not null,
    runtimes_json text not null,
    digest text not null,
    bytes integer not null,
    unpacked_bytes integer not null,
    origin_json text,
    created_at integer not null,
    primary key (project, name, number),
    foreign key (project, name) references layers (project, name)
  ) strict, without rowid`,
  `create index layer_versions_by_digest on layer_versions (digest)`,
  `alter table versions add column layers_json text not null default '[]'`,
]

/** Functions that answer HTTP at a place of their own. */
const urlTables = [
  `create table function_urls (
    project text not null,
    function_name text not null,
    qualifier text,
    auth text not null,
    mode text not null,
    cors_json text,
    created_at integer not null,
    updated_at integer not null,
    primary key (project, function_name),
    foreign key (project, function_name) references functions (project, name) on delete cascade
  ) strict, without rowid`,
  // Hosts have no upper case.
  `create index function_urls_by_host on function_urls (project, lower(function_name))`,
]
