import { z } from 'zod'
import { digest } from './digest.ts'

/* Shapes of where code comes from. */

/** One of `artifact`, `s3`, `https` and `image`; the platform says which fields go together. */
export const codeSource = z
  .strictObject({
    artifact: digest.optional().describe('Uploaded before by `PUT /v1/artifacts/{sha256}`.'),
    s3: z
      .string()
      .optional()
      .describe('`s3://BUCKET/KEY[?versionId=ID]`: built-in storage, or the S3 endpoint that is set.'),
    https: z.string().optional().describe('Address of a zip; needs `sha256`.'),
    image: z
      .string()
      .optional()
      .describe('`[HOST[:PORT]/]REPOSITORY[:TAG][@sha256:DIGEST]`, an image in a registry; with runtime `image`.'),
    sha256: z.string().optional().describe('Hex digest that the bytes must have; with `s3` or `https`.'),
    endpoint: z
      .string()
      .optional()
      .describe('With `s3`: another S3 endpoint than the one that is set; needs `secret`.'),
    region: z.string().optional().describe('With `s3`: region to sign for.'),
    secret: z
      .string()
      .optional()
      .describe(
        'Name of a secret; with `s3` it holds `accessKeyId:secretAccessKey[:sessionToken]`, with `image` `user:password`.',
      ),
  })
  .meta({ id: 'CodeSource' })

export const codeOrigin = z
  .object({
    kind: z.enum(['storage', 's3', 'https', 'registry']),
    source: z.string().describe('Of an image: in full, with the digest of its manifest.'),
    endpoint: z.string().nullable(),
    etag: z.string().nullable(),
    versionId: z.string().nullable(),
    fetchedAt: z.number(),
  })
  .nullable()
  .describe('Where the code was fetched from, as it was then; null when it was uploaded.')
