import type { CreateFunctionBody, HearthClient } from '@hearth/sdk'
import { createHash } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { CliError } from './cli-error.ts'
import type { Flags } from './command.ts'
import { connect } from './connect.ts'
import type { Context } from './context.ts'
import { listLayout, tarMembers } from './oci-folder.ts'
import { formatBytes } from './output.ts'

/** The platform fetches an image for a quarter of an hour at most, and unpacks it. */
const waitMs = 1_800_000

export const imageFlags = {
  image: {
    type: 'text',
    value: 'IMAGE',
    about:
      'container image instead of code: REPOSITORY[:TAG] as docker has it, FILE.tar of docker save (also .tar.gz), or folder of an OCI layout',
    completes: 'file',
  },
} as const satisfies Flags

/** What says how code is run, where an image says it itself. */
const others = ['code', 'runtime', 'build', 'no-build', 'code-sha256', 'code-endpoint', 'code-region'] as const

type ImageFlags = { readonly [name in (typeof others)[number]]: string | boolean | undefined } & {
  readonly image: string
  readonly 'code-secret': string | undefined
}

/** An image that is to be deployed: what the API takes for it, and a client that waits for as long as that takes. Throws CliError naming the flag that
 *  does not go with `--image`. */
export async function imageSource(
  context: Context,
  flags: ImageFlags,
): Promise<{ code: CreateFunctionBody['code']; client: HearthClient }> {
  for (const name of others)
    if (flags[name] !== undefined && flags[name] !== false)
      throw new CliError(`--${name} does not go with --image: the image says itself what is started.`)
  const { patientFetch } = await import('./patient-fetch.ts')
  const { env, project } = context
  const client = await connect(await context.server(), { env, project, fetch: patientFetch(waitMs) })
  const { image, 'code-secret': secret } = flags
  const here = placeOf(context, image)
  if (here === null) return { code: { image, ...(secret !== undefined && { secret }) }, client }
  if (secret !== undefined) throw new CliError(`--code-secret goes with an image in a registry, and ${image} is here.`)
  return { code: { artifact: await upload(context, client, here) }, client }
}

/** What is spelled as a path, and what can be nothing else; null = in a registry. */
function placeOf({ cwd, output }: Context, image: string): string | null {
  const file = path.resolve(cwd, image)
  if (/^\.{0,2}\//.test(image) || image === '.' || /\.(tar|tgz|tar\.(gz|zst))$/i.test(image)) return file
  if (!existsSync(path.join(file, 'oci-layout'))) return null
  output.note(`Taking the folder ${image}. Write docker.io/library/${image} for the registry's.`)
  return file
}

async function upload({ output }: Context, client: HearthClient, place: string): Promise<string> {
  const content = await contentOf(place)
  const show =
    (what: string) =>
    (bytes: number): void =>
      output.status(`${what} ${path.basename(place)}: ${formatBytes(bytes)}`)
  try {
    const hash = createHash('sha256')
    for await (const chunk of metered(content(), show('reading'))) hash.update(chunk)
    const digest = `sha256:${hash.digest('hex')}`
    await client.uploadImage(digest, () => metered(content(), show('uploading')))
    return digest
  } finally {
    output.status('')
  }
}

/** The tar of an image, each time it is asked for anew. A file goes up as it is: the platform knows gzip and zstd by their first bytes. */
async function contentOf(place: string): Promise<() => AsyncIterable<Uint8Array>> {
  const facts = await stat(place).catch(() => null)
  if (facts === null) throw new CliError(`Cannot read --image "${place}": there is no such file or folder.`)
  if (!facts.isDirectory()) return () => createReadStream(place, { highWaterMark: 256 * 1024 })
  const members = await listLayout(place)
  return () => tarMembers(members)
}

async function* metered(
  source: AsyncIterable<Uint8Array>,
  progress: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  let bytes = 0
  for await (const chunk of source) {
    bytes += chunk.length
    progress(bytes)
    yield chunk
  }
}
