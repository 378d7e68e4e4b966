import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { startPlatform, type Platform } from '../support/platform.ts'

const root = path.resolve(import.meta.dirname, '../..')

/** The 200-byte JSON body that every front and function of the benchmarks exchanges. */
export const body200 = JSON.stringify({ text: 'x'.repeat(200 - JSON.stringify({ text: '' }).length) })

/** The handlers under test: one file each, answering what they got. */
export const handlers = {
  node: {
    runtime: 'node26',
    handler: 'index.handler',
    file: 'index.js',
    source: 'exports.handler = async (event) => event\n',
  },
  python: {
    runtime: 'python',
    handler: 'main.handler',
    file: 'main.py',
    source: 'def handler(event, context):\n    return event\n',
  },
} as const
export type Language = keyof typeof handlers

/** A folder with the handler of `language`. */
export async function handlerFolder(folder: string, language: Language): Promise<string> {
  const target = path.join(folder, `fn-${language}`)
  await mkdir(target, { recursive: true })
  await writeFile(path.join(target, handlers[language].file), handlers[language].source)
  return target
}

/** Deploys the handler of `language` as `name`; `flags` are further flags of `hearth function create`. */
export async function deploy(
  platform: Platform,
  folder: string,
  options: { language: Language; name: string; flags?: readonly string[] },
): Promise<void> {
  const { runtime, handler } = handlers[options.language]
  const code = await handlerFolder(folder, options.language)
  const args = [
    'function',
    'create',
    '--name',
    options.name,
    '--runtime',
    runtime,
    '--handler',
    handler,
    '--code',
    code,
    ...(options.flags ?? []),
  ]
  await promisify(execFile)(path.join(root, 'bin/hearth'), args, {
    env: { ...process.env, HEARTH_URL: platform.url, HEARTH_API_KEY: platform.apiKey },
  })
}

export const invokeUrl = (platform: Platform, name: string): string => `${platform.url}/v1/functions/${name}/invoke`

export const invokeHeaders = (platform: Platform): Record<string, string> => ({
  authorization: `Bearer ${platform.apiKey}`,
  'content-type': 'application/json',
})

/** One invocation; throws unless it succeeded. Returns the reply headers and how long it took from here. */
export async function invoke(platform: Platform, name: string): Promise<{ headers: Headers; ms: number }> {
  const startedAt = performance.now()
  const reply = await fetch(invokeUrl(platform, name), {
    method: 'POST',
    headers: invokeHeaders(platform),
    body: body200,
  })
  const text = await reply.text()
  const ms = performance.now() - startedAt
  if (reply.headers.get('hearth-outcome') !== 'succeeded')
    throw new Error(`Invocation of ${name} did not succeed: ${reply.status} ${text}`)
  return { headers: reply.headers, ms }
}

/** A bare `node:http` server that answers `body200`: the limit of P1. */
export async function bareServer(folder: string): Promise<{ url: string; process: ChildProcess }> {
  const file = path.join(folder, 'bare.cjs')
  const source = `const body = Buffer.from(${JSON.stringify(body200)})
require('node:http').createServer((req, res) => { req.on('data', () => {}); req.on('end', () => { res.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length }); res.end(body) }) })
  .listen(0, '127.0.0.1', function () { console.log(this.address().port) })\n`
  await writeFile(file, source)
  const child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [port] = (await once(child.stdout, 'data')) as [Buffer]
  return { url: `http://127.0.0.1:${port.toString().trim()}/`, process: child }
}

/** Runs `use` with a fresh platform in `folder`. */
export async function withPlatform<T>(
  folder: string,
  env: Record<string, string>,
  use: (platform: Platform) => Promise<T>,
): Promise<T> {
  const platform = await startPlatform({ data: path.join(folder, `data-${Math.random().toString(36).slice(2)}`), env })
  try {
    return await use(platform)
  } finally {
    await platform.stop()
  }
}

/** Private memory of a process in MiB. */
export async function privateMib(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8')
  const kib = ['Private_Clean', 'Private_Dirty'].map((name) =>
    Number(new RegExp(`${name}:\\s+(\\d+)`).exec(text)?.[1] ?? 0),
  )
  return kib.reduce((sum, value) => sum + value, 0) / 1024
}
