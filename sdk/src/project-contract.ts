import { z } from 'zod'
import type { Route } from './contract.ts'
import * as s from './schemas.ts'

/* Rows of the contract table about projects. */

const projectName = z.string().regex(/^[a-z0-9][a-z0-9-]{0,38}$/, 'must be 1 to 39 lower-case letters, digits or "-"')
const named = z.object({ name: z.string() })

export const project = z
  .object({
    name: z.string(),
    createdAt: z.number(),
    quotas: z.object({ functionsMax: z.number(), concurrencyMax: z.number() }),
  })
  .meta({ id: 'Project' })
export const projectStatus = z
  .object({
    ...project.shape,
    usage: z
      .object({ functions: z.number(), running: z.number(), queued: z.number() })
      .describe('Functions that it holds; invocations of them all that run now, and that wait.'),
  })
  .meta({ id: 'ProjectStatus' })

/** Ranges are checked by the platform, which names field, value and range. */
const quotas = z.strictObject({
  functionsMax: z.number().optional().describe('Functions that it may hold: 0 to 100000, default 10000.'),
  concurrencyMax: z
    .number()
    .optional()
    .describe('Invocations of all its functions at a time: 1 to 100000, default 1000.'),
})

export const projectRoutes = {
  listProjects: {
    method: 'GET',
    path: '/v1/projects',
    reply: s.listOf(project),
    status: 200,
    scope: 'admin',
    summary: 'Projects.',
  },
  createProject: {
    method: 'POST',
    path: '/v1/projects',
    body: z
      .strictObject({ name: projectName, quotas: quotas.optional().describe('What is left out takes its default.') })
      .meta({ id: 'CreateProject' }),
    reply: project,
    status: 201,
    scope: 'admin',
    summary: 'Make a project: names, keys, secrets and quotas of its own.',
    audit: ['project.create'],
  },
  getProject: {
    method: 'GET',
    path: '/v1/projects/{name}',
    params: named,
    reply: projectStatus,
    status: 200,
    scope: 'admin',
    summary: 'Quotas of a project and how much of each is used; open to its own administrator too.',
  },
  updateProject: {
    method: 'PATCH',
    path: '/v1/projects/{name}',
    params: named,
    body: z.strictObject({ quotas: quotas.describe('What is left out stays.') }).meta({ id: 'UpdateProject' }),
    reply: projectStatus,
    status: 200,
    scope: 'admin',
    summary:
      'Set quotas of a project, at once: what runs beyond a lower one comes to its end, functions beyond it stay.',
    audit: ['project.update'],
  },
} as const satisfies Record<string, Route>
