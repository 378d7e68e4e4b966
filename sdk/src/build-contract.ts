import { z } from 'zod'
import { digest, listOf } from './schemas.ts'

const buildBody = z.strictObject({
  artifact: digest,
  runtime: z.string().max(64),
  handler: z.string().max(128).optional(),
  arch: z.string().max(16).optional().describe('`x86_64` or `arm64`; default: that of the nodes.'),
})
export const buildEvent = z
  .object({
    line: z.string().optional(),
    built: z
      .object({
        artifact: z.string(),
        bytes: z.number(),
        provenance: z.object({
          source: z.string(),
          toolchain: z.string(),
          lock: z.string().nullable(),
          output: z.string(),
          program: z.string().nullable(),
          arch: z.string(),
        }),
      })
      .optional(),
    failed: z.object({ code: z.string(), message: z.string(), field: z.string().optional() }).optional(),
  })
  .meta({ id: 'BuildEvent' })

/** The rows of the API that build. */
export const buildRoutes = {
  buildBundle: {
    method: 'POST',
    path: '/v1/builds',
    body: buildBody,
    reply: listOf(buildEvent),
    status: 200,
    scope: 'functions:write',
    summary:
      'Build an uploaded source for a Go or Rust runtime, or install the packages that one for Node or Python names; always a stream of `text/event-stream`: lines of the build, then its bundle or what failed.',
    audit: ['artifact.build'],
  },
} as const
