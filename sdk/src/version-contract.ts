import { z } from 'zod'
import type { Route } from './contract.ts'
import * as s from './schemas.ts'

/* Rows of the contract table about versions of functions, and the names that they have. */

const name = z.object({ name: s.functionName })
const ofVersion = z.object({ name: s.functionName, number: z.coerce.number().int().min(1) })
const nameAndAlias = z.object({ name: s.functionName, alias: z.string() })

export const versionRoutes = {
  listVersions: {
    method: 'GET',
    path: '/v1/functions/{name}/versions',
    params: name,
    query: s.pageQuery,
    reply: s.pageOf(s.versionView),
    status: 200,
    scope: 'functions:read',
    summary: 'Versions of a function, newest first.',
  },
  deleteVersion: {
    method: 'DELETE',
    path: '/v1/functions/{name}/versions/{number}',
    params: ofVersion,
    reply: 'none',
    status: 204,
    scope: 'functions:write',
    summary:
      'Delete a version for good; its number is not given out again. 409 while it is prepared or called, or `$LATEST`, an alias or a URL means it.',
    audit: ['version.delete'],
  },
  rollbackFunction: {
    method: 'POST',
    path: '/v1/functions/{name}/rollback',
    params: name,
    body: z.strictObject({ to: z.number().int().min(1).optional() }).meta({ id: 'Rollback' }),
    reply: s.functionView,
    status: 200,
    scope: 'functions:write',
    summary: 'Repoint $LATEST to an earlier version (default: the one before).',
    audit: ['function.rollback'],
  },
  listAliases: {
    method: 'GET',
    path: '/v1/functions/{name}/aliases',
    params: name,
    reply: s.listOf(s.alias),
    status: 200,
    scope: 'functions:read',
    summary: 'Aliases of a function.',
  },
  setAlias: {
    method: 'PUT',
    path: '/v1/functions/{name}/aliases/{alias}',
    params: nameAndAlias,
    body: z.strictObject({ version: z.number().int().min(1) }).meta({ id: 'SetAlias' }),
    reply: s.alias,
    status: 200,
    scope: 'functions:write',
    summary: 'Create or repoint an alias.',
    audit: ['alias.set'],
  },
  deleteAlias: {
    method: 'DELETE',
    path: '/v1/functions/{name}/aliases/{alias}',
    params: nameAndAlias,
    reply: 'none',
    status: 204,
    scope: 'functions:write',
    summary: 'Delete an alias.',
    audit: ['alias.delete'],
  },
} as const satisfies Readonly<Record<string, Route>>
