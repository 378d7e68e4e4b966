import { z } from 'zod'
import type { Route } from './contract.ts'
import * as s from './schemas.ts'

/* Rows of the contract table about functions' own URLs. */

const name = z.object({ name: s.functionName })

const corsFields = {
  allowOrigins: z.array(z.string()),
  allowMethods: z.array(z.string()),
  allowHeaders: z.array(z.string()),
  exposeHeaders: z.array(z.string()),
  maxAgeSeconds: z.number().int(),
  allowCredentials: z.boolean(),
}

const functionUrlBody = z
  .strictObject({
    auth: z.enum(['none', 'key', 'aws_iam']),
    mode: z.enum(['buffered', 'stream']).optional(),
    qualifier: z.string().nullable().optional(),
    cors: z.strictObject(corsFields).partial().nullable().optional(),
  })
  .meta({ id: 'FunctionUrlInput' })

export const functionUrl = z
  .object({
    function: z.string(),
    qualifier: z.string().nullable(),
    auth: z.string(),
    mode: z.string(),
    cors: z.object(corsFields).nullable(),
    url: z.string(),
    pathUrl: z.string(),
    createdAt: z.number(),
    updatedAt: z.number(),
  })
  .meta({ id: 'FunctionUrl' })

export const urlRoutes = {
  putFunctionUrl: {
    method: 'PUT',
    path: '/v1/functions/{name}/url',
    params: name,
    body: functionUrlBody,
    reply: functionUrl,
    status: 200,
    scope: 'functions:write',
    summary: 'Give a function a URL, or change it.',
    audit: ['url.set'],
  },
  getFunctionUrl: {
    method: 'GET',
    path: '/v1/functions/{name}/url',
    params: name,
    reply: functionUrl,
    status: 200,
    scope: 'functions:read',
    summary: 'URL of a function.',
  },
  deleteFunctionUrl: {
    method: 'DELETE',
    path: '/v1/functions/{name}/url',
    params: name,
    reply: 'none',
    status: 204,
    scope: 'functions:write',
    summary: 'Take the URL of a function away.',
    audit: ['url.delete'],
  },
  listFunctionUrls: {
    method: 'GET',
    path: '/v1/urls',
    reply: s.listOf(functionUrl),
    status: 200,
    scope: 'functions:read',
    summary: 'URLs of all functions of the project.',
  },
} as const satisfies Record<string, Route>
