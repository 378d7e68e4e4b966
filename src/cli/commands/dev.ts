import { watch } from 'node:fs'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import timers from 'node:timers/promises'
import type { FunctionView, HearthClient } from '@hearth/sdk'
import { CliError } from '../cli-error.ts'
import { defineCommand } from '../command.ts'
import type { Context } from '../context.ts'
import { deployCode } from '../deploy-code.ts'
import { exitCodes } from '../exit-codes.ts'
import { describeFailure } from '../failure.ts'
import { functionNameOf } from '../function-name.ts'
import { familyOf, inferRuntime, kindBody, type Inferred } from '../infer.ts'
import { nullIfNone } from '../null-if-none.ts'
import { connectionNotes, printLine } from './function-logs.ts'

/** Editors write in several steps: what follows within this time belongs to the same save. */
const settleMs = 60

interface Target {
  readonly name: string
  readonly folder: string
  readonly kind: Inferred
  /** `--runtime`: else a function that is there keeps its own of the same family. */
  readonly runtime: string | undefined
}

export default defineCommand({
  name: 'dev',
  summary: 'Deploy a folder on every save and stream its log, until Ctrl-C',
  args: { folder: { about: "the function's code", completes: 'folder' } },
  flags: {
    name: { type: 'text', value: 'NAME', about: "function to deploy to (default: the folder's name)" },
    runtime: { type: 'text', value: 'RUNTIME', about: 'default: by what the folder holds, as with create' },
    handler: { type: 'text', value: 'FILE.FUNCTION', about: 'default: by what the folder holds' },
    once: { type: 'boolean', about: 'deploy once and return' },
  },
  examples: ['hearth dev ./hello', 'hearth dev ./hello --name hello-dev --runtime node24'],
  async run(context, { args, flags }) {
    const folder = path.resolve(context.cwd, args.folder)
    if (!(await stat(folder).catch(() => null))?.isDirectory())
      throw new CliError(`Cannot watch "${args.folder}": it is not a folder.`)
    const name = flags.name ?? functionNameOf(folder)
    const target: Target = { folder, name, kind: await kindOf(folder, flags), runtime: flags.runtime }
    const client = await context.client()
    const first = await deployAndReport(context, client, target)
    if (flags.once) return first === null ? exitCodes.failed : exitCodes.ok
    const signal = context.interrupt()
    await Promise.all([
      streamLogs(context, client, { name: target.name, signal }),
      redeployOnSave(context, client, { target, signal }),
    ])
    return exitCodes.ok
  },
})

async function kindOf(
  folder: string,
  { runtime, handler }: { runtime?: string | undefined; handler?: string | undefined },
): Promise<Inferred> {
  const inferred: Inferred = await inferRuntime('/', folder).catch((error: unknown) => {
    if (runtime === undefined) throw error
    return { runtime, handler: runtime.startsWith('python') ? 'main.handler' : 'index.handler', from: folder }
  })
  return { ...inferred, ...(runtime !== undefined && { runtime }), ...(handler !== undefined && { handler }) }
}

/** Deploys and says how long it took; a failure is told and left for the next save. */
async function deployAndReport(context: Context, client: HearthClient, target: Target): Promise<FunctionView | null> {
  const { output } = context
  const startedAt = performance.now()
  try {
    const view = await deploy(context, client, target)
    const ms = Math.round(performance.now() - startedAt)
    if (output.isJson) output.json({ event: 'deployed', name: view.name, version: view.version, ms }, { line: true })
    else output.note(output.paintNote('green', `deployed ${view.name} version ${view.version} in ${ms} ms`))
    return view
  } catch (error) {
    const { message, data } = describeFailure(error)
    if (output.isJson) output.json({ event: 'not_deployed', name: target.name, error: data }, { line: true })
    else output.note(output.paintNote('red', `not deployed: ${message}`))
    return null
  }
}

async function deploy(context: Context, client: HearthClient, target: Target): Promise<FunctionView> {
  const { name, folder } = target
  const current = await client.getFunction({ name }).catch(nullIfNone)
  const isKept = target.runtime === undefined && familyOf(current?.runtime ?? '') === familyOf(target.kind.runtime)
  const kind = { ...target.kind, ...(isKept && current !== null && { runtime: current.runtime }) }
  const { runtime, handler } = kind
  const artifact = await deployCode(context, {
    code: folder,
    build: undefined,
    runtime,
    handler,
    project: context.project,
  })
  // Code that does not load must not take the place of code that does.
  const mustLoad = 'true'
  if (current === null)
    return client.createFunction({ mustLoad, body: { name, code: { artifact }, ...kindBody(kind) } })
  const isSame = current.codeDigest === artifact && current.runtime === runtime
  if (isSame && (handler === undefined || current.handler === handler)) return current
  return client.updateFunction({ name, mustLoad, body: { code: { artifact }, ...kindBody(kind) } })
}

async function streamLogs(
  context: Context,
  client: HearthClient,
  { name, signal }: { name: string; signal: AbortSignal },
): Promise<void> {
  const { output } = context
  let from: { readonly fromOffset?: number } = {}
  let isFirst = true
  while (!signal.aborted) {
    try {
      const options = { signal, ...from, onConnection: connectionNotes(output) }
      for await (const line of client.followLogs(name, options)) printLine(output, line)
    } catch (error) {
      const { code } = error as { code?: string }
      // The first deploy may have failed, or somebody deleted the function: the next one's lines are all new.
      if (code === 'not_found') from = { fromOffset: 0 }
      else if (code !== 'unreachable' || isFirst) throw error
      isFirst = false
      await timers.setTimeout(1_000, undefined, { signal }).catch(() => {})
    }
  }
}

/** One deploy at a time; what is saved meanwhile is deployed right after. */
async function redeployOnSave(
  context: Context,
  client: HearthClient,
  { target, signal }: { target: Target; signal: AbortSignal },
): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  let isBusy = false
  let isStale = false
  const redeploy = async (): Promise<void> => {
    if (isBusy) return void (isStale = true)
    isBusy = true
    do {
      isStale = false
      await deployAndReport(context, client, target)
    } while (isStale)
    isBusy = false
  }
  const watcher = watch(target.folder, { recursive: true }, (_event, name) => {
    if (name !== null && /(^|[/\\])(\.git|__pycache__)([/\\]|$)/.test(name)) return
    clearTimeout(timer)
    timer = setTimeout(() => void redeploy(), settleMs)
  })
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
  clearTimeout(timer)
  watcher.close()
}
