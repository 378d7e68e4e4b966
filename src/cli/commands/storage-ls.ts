import { CliError } from '../cli-error.ts'
import { defineCommand } from '../command.ts'
import { formatBytes, formatTime, printable, table } from '../output.ts'
import { listAll } from '../paging.ts'
import { parseS3Url } from '../s3-url.ts'

const limitDefault = 10_000

export default defineCommand({
  name: 'storage ls',
  summary: 'List buckets, or the objects of one',
  args: { address: { about: 's3://BUCKET[/PREFIX]; buckets if left out', optional: true } },
  notes: [
    'Where an S3 server is set, its lists tell neither version nor digest; with --versions they tell the version.',
  ],
  flags: {
    versions: { type: 'boolean', about: 'every version that is kept of the object at this address' },
    limit: { type: 'integer', value: 'N', about: `at most so many objects (default: ${limitDefault})`, min: 1 },
  },
  examples: [
    'hearth storage ls',
    'hearth storage ls s3://functions/',
    'hearth storage ls s3://functions/a.zip --versions',
  ],
  async run({ output, client }, { args, flags }) {
    const api = await client()
    if (args.address === undefined) {
      const { items } = await api.listBuckets({})
      if (output.isJson) return output.json({ items })
      const rows = items.map(({ name, createdAt }) => [`s3://${printable(name)}`, formatTime(createdAt)])
      return output.line(table(['BUCKET', 'CREATED'], rows))
    }
    const { bucket, key } = parseS3Url(args.address, { mustHaveKey: false })
    if (flags.versions && key === '')
      throw new CliError(`"${args.address}" is a bucket: --versions shows those of one object, s3://BUCKET/KEY.`)
    const limit = flags.limit ?? limitDefault
    // One more tells whether that is all.
    const found = flags.versions
      ? (await api.listObjectVersions({ bucket, key })).items
      : await listAll((page) => api.listObjects({ bucket, ...(key !== '' && { prefix: key }), ...page }), limit + 1)
    const items = found.slice(0, limit)
    if (items.length < found.length)
      output.note(`There are more than these ${limit}. Name a prefix, or a higher --limit.`)
    if (output.isJson) return output.json({ items })
    const rows = items.map((each) => [
      printable(each.key),
      formatBytes(each.bytes),
      each.versionId ?? '-',
      each.digest?.slice(7, 19) ?? '-',
      formatTime(each.createdAt),
    ])
    output.line(table(['KEY', 'SIZE', 'VERSION', 'DIGEST', 'STORED'], rows))
  },
})
