import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { median, type Row } from './measure.ts'
import {
  body200,
  deploy,
  handlerFolder,
  handlers,
  invoke,
  invokeHeaders,
  withPlatform,
  type Language,
} from './subject.ts'
import type { Platform } from '../support/platform.ts'

const samples = 25
const pauseMs = 150

interface ColdSamples {
  /** Sum over the node's own phases: from the agent's decision to the first result. */
  readonly readyMs: number
  readonly overHttpMs: number
  readonly warmOverHttpMs: number
}

/** P2 and P3: cold starts from the booted pool and without it, each beside its limit in the same run.
 *  `reuse: never` makes every invocation a cold one; the pause lets the pool refill and the machine go quiet. */
export default async function p2p3Cold(folder: string): Promise<Row[]> {
  const rows: Row[] = []
  const pooled = await withPlatform(folder, { HEARTH_POOL_SIZE: '2' }, async (platform) =>
    coldByLanguage(platform, folder),
  )
  const unpooled = await withPlatform(folder, { HEARTH_POOL_SIZE: '0' }, async (platform) =>
    coldByLanguage(platform, folder),
  )
  for (const language of ['node', 'python'] as const) {
    const bare = await bareSpawn(folder, language)
    rows.push(...rowsOf(language, { pooled: pooled[language], unpooled: unpooled[language], bare }))
  }
  return rows
}

function rowsOf(language: Language, of: { pooled: ColdSamples; unpooled: ColdSamples; bare: number }): Row[] {
  const note = `medians of ${samples}, ${pauseMs} ms apart, decision to first result inside the platform`
  return [
    {
      promise: 'P2',
      subject: `${language}: cold from the booted pool`,
      value: of.pooled.readyMs,
      unit: 'ms',
      limit: { what: 'the same without a pool', value: of.unpooled.readyMs },
      bound: { op: '<=', value: language === 'node' ? 0.12 : 0.2 },
      note,
    },
    {
      promise: 'P2',
      subject: `${language}: cold from the pool over HTTP`,
      value: of.pooled.overHttpMs,
      unit: 'ms',
      limit: { what: 'warm call after the same pause', value: of.pooled.warmOverHttpMs },
      bound: { op: '<=', value: 2.5 },
      note: `client to client, ${samples} samples`,
    },
    {
      promise: 'P3',
      subject: `${language}: cold without a pool`,
      value: of.unpooled.readyMs,
      unit: 'ms',
      limit: { what: 'bare spawn of the interpreter with the same handler', value: of.bare },
      bound: { op: '<=', value: language === 'node' ? 1.2 : 1.25 },
      note,
    },
  ]
}

async function coldByLanguage(platform: Platform, folder: string): Promise<Record<Language, ColdSamples>> {
  const result: Partial<Record<Language, ColdSamples>> = {}
  for (const language of ['node', 'python'] as const) {
    await deploy(platform, folder, { language, name: `cold-${language}`, flags: ['--reuse', 'never'] })
    await deploy(platform, folder, { language, name: `warm-${language}` })
    result[language] = await sample(platform, language)
  }
  return result as Record<Language, ColdSamples>
}

async function sample(platform: Platform, language: Language): Promise<ColdSamples> {
  const ready: number[] = []
  const cold: number[] = []
  const warm: number[] = []
  await invoke(platform, `warm-${language}`)
  for (let n = 0; n < samples; n++) {
    await pause()
    const start = await invoke(platform, `cold-${language}`)
    cold.push(start.ms)
    ready.push(await decisionToResultMs(platform, start.headers.get('hearth-invocation-id') ?? ''))
    await pause()
    warm.push((await invoke(platform, `warm-${language}`)).ms)
  }
  return { readyMs: median(ready), overHttpMs: median(cold), warmOverHttpMs: median(warm) }
}

/** From the receipt: end of the attempt's last phase minus the end of queueing. */
async function decisionToResultMs(platform: Platform, id: string): Promise<number> {
  const reply = await fetch(`${platform.url}/v1/invocations/${id}`, { headers: invokeHeaders(platform) })
  const receipt = (await reply.json()) as { phases: { phase: string; startMs: number; durationMs: number }[] }
  const own = receipt.phases.filter((phase) => !['admit', 'queue', 'place'].includes(phase.phase))
  const from = Math.min(...own.map((phase) => phase.startMs))
  return Math.max(...own.map((phase) => phase.startMs + phase.durationMs)) - from
}

/** The limit of P3: the interpreter is spawned, loads the same handler, answers one line over a pipe. */
async function bareSpawn(folder: string, language: Language): Promise<number> {
  const code = await handlerFolder(folder, language)
  await mkdir(path.join(folder, 'bare'), { recursive: true })
  const { file, args } = await bareProgram(folder, language, code)
  const times: number[] = []
  for (let n = 0; n < samples; n++) {
    await pause()
    const startedAt = performance.now()
    const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    child.stdin.end(`${body200}\n`)
    await once(child.stdout, 'data')
    times.push(performance.now() - startedAt)
    await once(child, 'close')
  }
  return median(times)
}

async function bareProgram(
  folder: string,
  language: Language,
  code: string,
): Promise<{ file: string; args: string[] }> {
  if (language === 'node') {
    const main = path.join(folder, 'bare', 'main.cjs')
    await writeFile(
      main,
      `const { handler } = require(${JSON.stringify(path.join(code, handlers.node.file))})\nprocess.stdin.once('data', async (data) => process.stdout.write(JSON.stringify(await handler(JSON.parse(data)))))\n`,
    )
    return { file: process.execPath, args: [main] }
  }
  const main = path.join(folder, 'bare', 'main.py')
  await writeFile(
    main,
    `import json, sys\nsys.path.insert(0, ${JSON.stringify(code)})\nfrom main import handler\nsys.stdout.write(json.dumps(handler(json.loads(sys.stdin.readline()), None)))\n`,
  )
  return { file: await realPython(), args: [main] }
}

/** The interpreter itself: a version manager's shim would add its own start. */
async function realPython(): Promise<string> {
  const child = spawn('python3', ['-c', 'import sys; print(sys.executable)'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [out] = (await once(child.stdout, 'data')) as [Buffer]
  return out.toString().trim()
}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, pauseMs))
