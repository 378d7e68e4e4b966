import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { makeClient, ricFunctions, type RicFunction } from '../support/runtime-clients.ts'
import type { Platform } from '../support/platform.ts'
import { executableOf } from './bare.ts'
import { median, shuffled, type Row } from './measure.ts'
import { body200, invoke, invokeHeaders, invokeUrl, withPlatform } from './subject.ts'
import { load } from './wrk.ts'

const rounds = 5
const seconds = 2
const warmUpSeconds = 4

/** AWS's runtime clients for Node and Python on Hearth, beside the same client, interpreter and function as a plain process on a bare stub of the Runtime API; one client of HTTP in
 *  front of either. */
export default async function nativeRic(folder: string): Promise<Row[]> {
  return withPlatform(folder, {}, async (platform) => {
    const rows: Row[] = []
    for (const ric of Object.values(ricFunctions)) rows.push(await ricRow(platform, folder, ric))
    return rows
  })
}

async function ricRow(platform: Platform, folder: string, ric: RicFunction): Promise<Row> {
  const { language } = ric
  const made = await makeClient(ric.client)
  if ('reason' in made) throw new Error(`Cannot measure: ${made.reason}.`)
  const name = `ric-${language}`
  const args = ['function', 'create', '--name', name, '--code', made.folder, ...ric.flags, '--memory', '512']
  const { code, stderr } = await platform.cli(args)
  if (code !== 0) throw new Error(`Cannot deploy ${name}: ${stderr}`)
  await invoke(platform, name)
  const stub = await bareStub([await executableOf(platform, name, language), ...ric.args], made.folder)
  try {
    const targets = {
      bare: { url: stub.url, headers: { 'content-type': 'application/json' } },
      hearth: { url: invokeUrl(platform, name), headers: invokeHeaders(platform) },
    }
    const common = { method: 'POST', body: body200, folder, clients: 1 } as const
    for (const target of Object.values(targets)) await load({ ...common, ...target, seconds: warmUpSeconds })
    const p50: Record<'bare' | 'hearth', number[]> = { bare: [], hearth: [] }
    let errors = 0
    for (let round = 0; round < rounds; round++)
      for (const side of shuffled(['bare', 'hearth'] as const)) {
        const result = await load({ ...common, ...targets[side], seconds })
        p50[side].push(result.p50Ms)
        errors += result.errors
      }
    return {
      promise: 'NATIVE',
      subject: `${ric.title}: p50 of a warm call over HTTP, 1 client`,
      value: median(p50.hearth),
      unit: 'ms',
      limit: { what: 'the same client on a bare stub of the Runtime API', value: median(p50.bare) },
      bound: { op: '<=', value: 1.2 },
      note: `medians of ${rounds} shuffled rounds of ${seconds} s after ${warmUpSeconds} s of warm-up each, 200-byte JSON, ${errors} errors; the stub is one node:http process without sandbox, auth, limits or receipts`,
      samples: p50,
    }
  } finally {
    stub.close()
  }
}

const lambdaEnv = {
  AWS_LAMBDA_FUNCTION_NAME: 'bare',
  AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '512',
  AWS_LAMBDA_FUNCTION_VERSION: '1',
  AWS_LAMBDA_LOG_GROUP_NAME: 'bare',
  AWS_LAMBDA_LOG_STREAM_NAME: 'bare',
  AWS_REGION: 'local',
}

/** The stub, and `argv` polling it from `cwd`. */
async function bareStub(argv: readonly string[], cwd: string): Promise<{ url: string; close(): void }> {
  const children: ChildProcess[] = []
  const close = (): void => {
    for (const child of children) child.kill('SIGKILL')
  }
  const file = path.join(import.meta.dirname, 'programs/runtime-api-stub.cjs')
  const stub = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(stub)
  try {
    const [bytes] = (await once(stub.stdout, 'data')) as [Buffer]
    const address = `127.0.0.1:${bytes.toString().trim()}`
    const [program = '', ...args] = argv
    const client = spawn(program, args, {
      cwd,
      env: {
        ...process.env,
        ...lambdaEnv,
        AWS_LAMBDA_RUNTIME_API: address,
        LAMBDA_TASK_ROOT: cwd,
        _HANDLER: args.at(-1),
      },
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    children.push(client)
    const ended = once(client, 'exit').then(([code]) => {
      throw new Error(`The runtime client on the bare stub ended with ${code}.`)
    })
    // It is ended by `close` too.
    ended.catch(() => undefined)
    const reply = await Promise.race([fetch(`http://${address}/`, { method: 'POST', body: body200 }), ended])
    if (!reply.ok) throw new Error(`The runtime client on the bare stub failed: ${await reply.text()}`)
    return { url: `http://${address}/`, close }
  } catch (error) {
    close()
    throw error
  }
}
