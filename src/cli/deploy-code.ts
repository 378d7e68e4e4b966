import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { buildFolder } from './build.ts'
import { openBundle } from './bundle.ts'
import { CliError } from './cli-error.ts'
import { connect } from './connect.ts'
import type { Context } from './context.ts'
import { exitCodes } from './exit-codes.ts'
import { formatBytes } from './output.ts'

export interface CodeOptions {
  /** `--code`. */
  readonly code: string
  readonly isBuilt: boolean
  /** Runtime that `--build` installs packages for. */
  readonly runtime: string
  readonly project: string | undefined
  /** What the platform's build makes the program call. */
  readonly handler?: string | undefined
  /** What it makes the program for; the platform's own when not given. */
  readonly arch?: string | undefined
}

/** Brings the code to the platform, unless it is there already; returns its digest. */
export async function deployCode(context: Context, options: CodeOptions): Promise<string> {
  const code = path.resolve(context.cwd, options.code)
  if (await isSource(code, options.runtime)) return buildThere(context, code, options)
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

/** Go and Rust are built by the platform, in a sandbox: a folder that has their source needs no --build. */
async function isSource(code: string, runtime: string): Promise<boolean> {
  if (!/^(go|rust)(1\.\d+)?$/.test(runtime)) return false
  const names: readonly string[] = await readdir(code).catch(() => [])
  return names.includes('Cargo.toml') || names.includes('go.mod') || names.some((name) => name.endsWith('.go'))
}

async function buildThere(context: Context, code: string, options: CodeOptions): Promise<string> {
  const { output } = context
  const { runtime, handler, project, arch } = options
  const artifact = await upload(context, code, project)
  const client = await context.client()
  const startedAt = performance.now()
  const lines: string[] = []
  try {
    const body = { artifact, runtime, ...(handler !== undefined && { handler }), ...(arch !== undefined && { arch }) }
    for await (const { line, built, failed } of client.followBuild({ body })) {
      const seconds = Math.round((performance.now() - startedAt) / 1000)
      if (line !== undefined) {
        lines.push(line)
        output.status(`building (${seconds} s): ${line.slice(0, 100)}`)
      }
      if (failed !== undefined)
        throw new CliError(`${failed.message}\n${lines.join('\n')}`, { exitCode: exitCodes.failed })
      if (built === undefined) continue
      const { toolchain, program } = built.provenance
      output.status('')
      output.note(`Built ${program} (${formatBytes(built.bytes)} zipped) with ${toolchain} in ${seconds} s.`)
      return built.artifact
    }
  } finally {
    output.status('')
  }
  throw new CliError('Cannot build: the platform went away meanwhile.', { exitCode: exitCodes.failed })
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
