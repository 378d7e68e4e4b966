import { createHash } from 'node:crypto'
import { createReadStream, openAsBlob } from 'node:fs'
import path from 'node:path'
import { CliError } from '../cli-error.ts'
import { defineCommand } from '../command.ts'
import { formatBytes } from '../output.ts'
import { parseS3Url } from '../s3-url.ts'

export default defineCommand({
  name: 'storage put',
  summary: 'Store a file in a bucket, as the newest version of an object',
  notes: [
    'Built-in, the bucket is made when it is not there, and the last 10 versions of an object are kept; where an S3 server is set (s3Endpoint), both are its own matter.',
    'An address that ends in / keeps the name of the file.',
  ],
  args: {
    file: { about: 'file to store', completes: 'file' },
    address: { about: 's3://BUCKET/KEY' },
  },
  flags: {},
  examples: ['hearth storage put ./process-image.zip s3://functions/process-image.zip'],
  async run({ output, client, cwd }, { args }) {
    const file = path.resolve(cwd, args.file)
    const address = args.address.endsWith('/') ? args.address + path.basename(file) : args.address
    const { bucket, key } = parseS3Url(address, { mustHaveKey: true })
    const digest = await digestOf(file)
    output.status(`storing ${address} ...`)
    const body = await openAsBlob(file)
    const stored = await (await client()).putObject({ bucket, key, body }).finally(() => output.status(''))
    if (stored.digest !== digest)
      throw new CliError(`${args.file} changed while it was stored: ${address} holds other bytes. Store it again.`)
    if (output.isJson) return output.json(stored)
    const version = stored.versionId === null ? '' : `, version ${stored.versionId}`
    output.line(`Stored s3://${bucket}/${key} (${formatBytes(stored.bytes)})${version}.`)
  },
})

/** Throws CliError for what is no readable file. */
async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  try {
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
  } catch (cause) {
    throw new CliError(`Cannot read ${file}: ${(cause as Error).message}.`, { cause })
  }
  return `sha256:${hash.digest('hex')}`
}
