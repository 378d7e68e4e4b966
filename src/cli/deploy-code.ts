import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { openBundle } from './bundle.ts'
import { CliError } from './cli-error.ts'
import { connect } from './connect.ts'
import type { Context } from './context.ts'
import { exitCodeOf, exitCodes } from './exit-codes.ts'
import { missingPackages } from './missing-packages.ts'
import { formatBytes } from './output.ts'

export interface CodeOptions {
  /** `--code`. */
  readonly code: string
  /** `--build`, `--no-build`; without either, by what the folder holds. */
  readonly build: boolean | undefined
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
  const isWanted = options.build ?? (await needsBuild(context, code, options.runtime))
  return isWanted ? buildThere(context, code, options) : upload(context, code, options.project)
}

/** The platform builds, in a sandbox: source of Go and Rust, and packages that a folder names and does not hold. */
async function needsBuild({ output }: Context, code: string, runtime: string): Promise<boolean> {
  if (await isSource(code, runtime)) return true
  const file = await missingPackages(code, runtime)
  if (file !== null) output.note(`Installing what ${file} names (--no-build leaves it out).`)
  return file !== null
}

async function isSource(code: string, runtime: string): Promise<boolean> {
  if (!/^(go|rust)(1\.\d+)?$/.test(runtime)) return false
  const names: readonly string[] = await readdir(code).catch(() => [])
  return names.includes('Cargo.toml') || names.includes('go.mod') || names.some((name) => name.endsWith('.go'))
}

async function buildThere(context: Context, code: string, options: CodeOptions): Promise<string> {
  const { output } = context
  const { runtime, handler, project, arch } = options
  if (arch !== undefined) await demandNode(context, arch)
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
        throw new CliError([failed.message, ...tellingLines(lines)].join('\n'), {
          exitCode: exitCodeOf(failed.code),
        })
      if (built === undefined) continue
      const { toolchain, program } = built.provenance
      output.status('')
      const what = program === null ? 'Installed packages' : `Built ${program}`
      output.note(`${what} (${formatBytes(built.bytes)} zipped) with ${toolchain} in ${seconds} s.`)
      return built.artifact
    }
  } finally {
    output.status('')
  }
  throw new CliError('Cannot build: the platform went away meanwhile.', { exitCode: exitCodes.failed })
}

/** A build takes minutes: asked before it whether its program would run anywhere. Whoever may not see the nodes hears it after. */
async function demandNode(context: Context, arch: string): Promise<void> {
  const nodes = await (await context.client()).listNodes({}).catch((error: Error & { code?: string }) => {
    if (error.code === 'forbidden') return null
    throw error
  })
  const arches = [...new Set(nodes?.items.map((node) => node.arch))]
  if (nodes === null || arches.includes(arch)) return
  throw new CliError(`Invalid arch "${arch}": must be ${arches.join(' or ')}, as this platform's nodes are.`, {
    hint: 'Set it with --arch x86_64|arm64.',
  })
}

/** Without what says nothing of the failure: npm's line for each package that came, its manual page, and a log in a sandbox that is gone. */
function tellingLines(lines: readonly string[]): string[] {
  const usage = lines.indexOf('npm error Usage:')
  const told = usage === -1 ? lines : lines.slice(0, usage)
  return told.filter((line) => !/^npm (http (fetch|cache) .*\b[23]\d\d\b|error A complete log of this run)/.test(line))
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
