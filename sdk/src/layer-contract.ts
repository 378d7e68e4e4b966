import { z } from 'zod'
import { codeOrigin, codeSource } from './code-schemas.ts'
import type { Route } from './contract.ts'
import * as s from './schemas.ts'

/* Rows of the contract table about layers: files that several functions share, below /opt. */

const name = z.object({ name: s.functionName })
const ofVersion = z.object({ name: s.functionName, number: z.coerce.number().int().min(1) })

export const layerVersion = z
  .object({
    name: z.string(),
    number: z.number(),
    description: z.string(),
    runtimes: z.array(z.string()).describe('Runtime ids or families it is made for; empty: any.'),
    digest: z.string(),
    bytes: z.number(),
    unpackedBytes: z.number(),
    origin: codeOrigin,
    createdAt: z.number(),
  })
  .meta({ id: 'LayerVersion' })

const publishBody = z
  .strictObject({
    code: codeSource,
    description: z.string().optional().describe('At most 256 characters.'),
    runtimes: z.array(z.string()).optional().describe('Runtime ids or families it is made for; default: any.'),
  })
  .meta({ id: 'PublishLayer' })

export const layerRoutes = {
  listLayers: {
    method: 'GET',
    path: '/v1/layers',
    query: s.pageQuery,
    reply: s.pageOf(layerVersion),
    status: 200,
    scope: 'functions:read',
    summary: 'Layers by name, each with its newest version.',
  },
  publishLayer: {
    method: 'POST',
    path: '/v1/layers/{name}/versions',
    params: name,
    body: publishBody,
    reply: layerVersion,
    status: 201,
    scope: 'functions:write',
    summary:
      'Make a new version of a layer; the first makes the layer. A function takes it by `layers: ["NAME:NUMBER"]`.',
    audit: ['layer.publish'],
  },
  listLayerVersions: {
    method: 'GET',
    path: '/v1/layers/{name}/versions',
    params: name,
    reply: s.listOf(layerVersion),
    status: 200,
    scope: 'functions:read',
    summary: 'Versions of a layer, newest first.',
  },
  getLayerVersion: {
    method: 'GET',
    path: '/v1/layers/{name}/versions/{number}',
    params: ofVersion,
    reply: layerVersion,
    status: 200,
    scope: 'functions:read',
    summary: 'One version of a layer.',
  },
  deleteLayerVersion: {
    method: 'DELETE',
    path: '/v1/layers/{name}/versions/{number}',
    params: ofVersion,
    reply: 'none',
    status: 204,
    scope: 'functions:write',
    summary:
      'Delete a version of a layer; versions of functions that have it keep it. Its number is not given out again.',
    audit: ['layer.delete'],
  },
} as const satisfies Record<string, Route>
