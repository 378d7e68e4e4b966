import { z } from 'zod'
import type { Route } from './contract.ts'
import * as s from './schemas.ts'

/* Rows of the contract table about API keys. */

export const key = z
  .object({
    id: z.string(),
    project: z.string(),
    name: z.string(),
    scopes: z.array(z.string()),
    createdAt: z.number(),
    revokedAt: z.number().nullable(),
  })
  .meta({ id: 'Key' })
const createKey = z
  .strictObject({
    name: z.string().max(100),
    scopes: z.array(z.string()).min(1),
    project: z.string().optional(),
    sigv4: z.boolean().optional().describe('Also an access key, to sign requests to function URLs with.'),
  })
  .meta({ id: 'CreateKey' })
export const newKey = z
  .object({
    key,
    token: z.string().describe('Shown once; the platform cannot show it again.'),
    accessKey: z
      .object({ accessKeyId: z.string(), secretAccessKey: z.string() })
      .optional()
      .describe('With sigv4; shown once too.'),
  })
  .meta({ id: 'NewKey' })

export const keyRoutes = {
  listKeys: {
    method: 'GET',
    path: '/v1/keys',
    reply: s.listOf(key),
    status: 200,
    scope: 'keys:write',
    summary: 'Keys of the project.',
  },
  createKey: {
    method: 'POST',
    path: '/v1/keys',
    body: createKey,
    reply: newKey,
    status: 201,
    scope: 'keys:write',
    summary: 'Make a key with scopes no wider than your own.',
    audit: ['key.create'],
  },
  revokeKey: {
    method: 'DELETE',
    path: '/v1/keys/{id}',
    params: z.object({ id: z.string() }),
    reply: key,
    status: 200,
    scope: 'keys:write',
    summary: 'Revoke a key at once.',
    audit: ['key.revoke'],
  },
} as const satisfies Record<string, Route>
