import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { CliError } from '../cli-error.ts'
import { defineCommand } from '../command.ts'
import { formatBytes } from '../output.ts'
import { parseS3Url } from '../s3-url.ts'

export default defineCommand({
  name: 'storage get',
  summary: 'Bring an object here',
  args: {
    address: { about: 's3://BUCKET/KEY[?versionId=ID]' },
    file: { about: 'where to; - is stdout; default: the last part of the key', optional: true, completes: 'file' },
  },
  flags: {},
  examples: ['hearth storage get s3://functions/process-image.zip', 'hearth storage get s3://functions/notes.txt -'],
  async run({ output, client, cwd }, { args }) {
    const { bucket, key, versionId } = parseS3Url(args.address, { mustHaveKey: true })
    const { body, bytes } = await (
      await client()
    ).openObject({ bucket, key, ...(versionId !== undefined && { versionId }) })
    const content = body === null ? Readable.from([]) : Readable.fromWeb(body)
    if (args.file === '-') {
      for await (const chunk of content) output.result(chunk as Uint8Array)
      return
    }
    const target = path.resolve(cwd, args.file ?? path.basename(key))
    // Half a file never stands under its name.
    const draft = `${target}.part-${process.pid}`
    try {
      await pipeline(content, createWriteStream(draft, { flags: 'wx' }))
      await rename(draft, target)
    } catch (cause) {
      await rm(draft, { force: true })
      throw new CliError(`Cannot bring ${args.address} to ${target}: ${(cause as Error).message}.`, { cause })
    }
    if (output.isJson) output.json({ bucket, key, file: target, bytes })
    else output.line(`Brought ${args.address} to ${target} (${formatBytes(bytes)}).`)
  },
})
