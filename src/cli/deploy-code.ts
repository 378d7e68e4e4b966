import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { buildFolder } from './build.ts'
import { openBundle } from './bundle.ts'
import { CliError } from './cli-error.ts'
import { connect } from './connect.ts'
import type { Context } from './context.ts'
import { formatBytes } from './output.ts'

export interface CodeOptions {
  /** `--code`. */
  readonly code: string
  readonly isBuilt: boolean
  /** Runtime that `--build` installs packages for. */
  readonly runtime: string
  readonly project: string | undefined
}

/** Brings the code to the platform, unless it is there already; returns its digest. */
export async function deployCode(context: Context, options: CodeOptions): Promise<string> {
  const code = path.resolve(context.cwd, options.code)
  if (!options.isBuilt) return upload(context, code, options.project)
  if (/\.zip$/i.test(code)) throw new CliError('Cannot build a .zip: --build needs --code to be a folder.')
  const client = await context.client()
  const { items: runtimes } = await client.listRuntimes({})
  const { output, env } = context
  const built = await buildFolder({ folder: code, runtime: options.runtime, runtimes, env, status: output.status })
  try {
    return await upload(context, built.folder, options.project)
  } finally {
    await built.dispose()
  }
}

async function upload(context: Context, code: string, project: string | undefined): Promise<string> {
  const { output, env } = context
  const bundle = await openBundle(code, (done, all) => output.status(`zipping ${bar(done, all)} ${formatBytes(all)}`))
  try {
    const show = (done: number): void =>
      output.status(`uploading ${bar(done, bundle.bytes)} ${formatBytes(bundle.bytes)}`)
    const client = output.isInteractive
      ? await connect(await context.server(), { env, project, fetch: meteredFetch(show) })
      : await context.client()
    return await client.uploadArtifact(await readFile(bundle.file))
  } finally {
    output.status('')
    await bundle.dispose()
  }
}

/** A fetch that tells how much of a body has left. */
function meteredFetch(progress: (doneBytes: number) => void): typeof globalThis.fetch {
  return async (input, init) => {
    const body = init?.body
    if (!(body instanceof Uint8Array)) return fetch(input, init)
    let done = 0
    const metered = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (done >= body.length) return controller.close()
        const chunk = body.subarray(done, done + 256 * 1024)
        done += chunk.length
        progress(done)
        controller.enqueue(chunk)
      },
    })
    return fetch(input, { ...init, body: metered, duplex: 'half' })
  }
}

function bar(done: number, all: number): string {
  const width = 24
  const filled = all === 0 ? width : Math.round((Math.min(done, all) / all) * width)
  return `${'\u2588'.repeat(filled)}${'\u2591'.repeat(width - filled)}`
}
