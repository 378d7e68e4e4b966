import { defineCommand } from '../command.ts'
import { parseS3Url } from '../s3-url.ts'

export default defineCommand({
  name: 'storage rm',
  summary: 'Delete an object with all its versions, or one of them',
  notes: [
    'Functions that were deployed from it keep their code. Built-in, a bucket goes with its last object. An S3 server that keeps versions keeps them: ls --versions shows them, and each goes by its versionId.',
  ],
  args: { address: { about: 's3://BUCKET/KEY[?versionId=ID]' } },
  flags: {},
  examples: ['hearth storage rm s3://functions/process-image.zip'],
  async run({ output, client }, { args }) {
    const { bucket, key, versionId } = parseS3Url(args.address, { mustHaveKey: true })
    await (await client()).deleteObject({ bucket, key, ...(versionId !== undefined && { versionId }) })
    if (output.isJson) output.json({ deleted: args.address })
    else output.line(`Deleted ${args.address}.`)
  },
})
