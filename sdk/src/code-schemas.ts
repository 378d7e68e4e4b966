import { z } from 'zod'
import { digest } from './digest.ts'

/* Shapes of where code comes from. */

/** One of `artifact`, `s3` and `https`; the platform says which fields go together. */
export const codeSource = z
  .strictObject({
    artifact: digest.optional().describe('Uploaded before by `PUT /v1/artifacts/{sha256}`.'),
    s3: z
      .string()
      .optional()
      .describe('`s3://BUCKET/KEY[?versionId=ID]`: built-in storage, or the S3 endpoint that is set.'),
    https: z.string().optional().describe('Address of a zip; needs `sha256`.'),
    sha256: z.string().optional().describe('Hex digest that the bytes must have; with `s3` or `https`.'),
    endpoint: z
      .string()
      .optional()
      .describe('With `s3`: another S3 endpoint than the one that is set; needs `secret`.'),
    region: z.string().optional().describe('With `s3`: region to sign for.'),
    secret: z
      .string()
      .optional()
      .describe('With `s3`: name of a secret that holds `accessKeyId:secretAccessKey[:sessionToken]`.'),
  })
  .meta({ id: 'CodeSource' })

export const codeOrigin = z
  .object({
    kind: z.enum(['storage', 's3', 'https']),
    source: z.string(),
    endpoint: z.string().nullable(),
    etag: z.string().nullable(),
    versionId: z.string().nullable(),
    fetchedAt: z.number(),
  })
  .nullable()
  .describe('Where the code was fetched from, as it was then; null when it was uploaded.')
