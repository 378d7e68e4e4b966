import { median, type Row } from './measure.ts'
import {
  bareServer,
  body200,
  deploy,
  invoke,
  invokeHeaders,
  invokeUrl,
  withPlatform,
  type Language,
} from './subject.ts'
import { load, type LoadResult } from './wrk.ts'

const rounds = 3
const seconds = 4
/** Both servers get this much load before anything is measured: V8 goes on optimising for the first 50,000 requests or so. */
const warmUpSeconds = 6

/** P1: warm invoke over HTTP against a bare `node:http` server answering the same body, shuffled rounds in one run. */
export default async function p1Warm(folder: string): Promise<Row[]> {
  return withPlatform(folder, {}, async (platform) => {
    const bare = await bareServer(folder)
    try {
      const rows: Row[] = []
      for (const language of ['node', 'python'] as const) {
        const name = `warm-${language}`
        await deploy(platform, folder, { language, name })
        await invoke(platform, name)
        rows.push(
          ...(await compare(folder, {
            bareUrl: bare.url,
            url: invokeUrl(platform, name),
            headers: invokeHeaders(platform),
            language,
          })),
        )
      }
      return rows
    } finally {
      bare.process.kill('SIGKILL')
    }
  })
}

interface Pair {
  readonly bareUrl: string
  readonly url: string
  readonly headers: Record<string, string>
  readonly language: Language
}

async function compare(folder: string, pair: Pair): Promise<Row[]> {
  const results: Record<'bare' | 'hearth', Record<1 | 32, LoadResult[]>> = {
    bare: { 1: [], 32: [] },
    hearth: { 1: [], 32: [] },
  }
  const targets = {
    bare: { url: pair.bareUrl, headers: { 'content-type': 'application/json' } },
    hearth: { url: pair.url, headers: pair.headers },
  }
  const common = { method: 'POST', body: body200, folder } as const
  for (const target of Object.values(targets)) await load({ ...common, ...target, clients: 32, seconds: warmUpSeconds })
  for (let round = 0; round < rounds; round++) {
    for (const clients of [1, 32] as const) {
      results.bare[clients].push(await load({ ...common, ...targets.bare, clients, seconds }))
      results.hearth[clients].push(await load({ ...common, ...targets.hearth, clients, seconds }))
    }
  }
  const p50 = (of: LoadResult[]) => median(of.map((result) => result.p50Ms))
  const rate = (of: LoadResult[]) => median(of.map((result) => result.requestsPerSecond))
  const errors = [...results.hearth[1], ...results.hearth[32]].reduce((sum, result) => sum + result.errors, 0)
  const added = p50(results.hearth[1]) - p50(results.bare[1])
  const note = `medians of ${rounds} rounds of ${seconds} s after ${warmUpSeconds} s of warm-up at 32 clients each, 200-byte JSON, ${errors} errors, auth, admission, limits, receipts and logs on`
  return [
    {
      promise: 'P1',
      subject: `${pair.language}: p50 added to a bare server, 1 client`,
      value: added,
      unit: 'ms',
      limit: null,
      bound: { op: '<=', value: 0.15 },
      note: `${p50(results.hearth[1]).toFixed(3)} ms against ${p50(results.bare[1]).toFixed(3)} ms; ${note}`,
    },
    {
      promise: 'P1',
      subject: `${pair.language}: requests/s, 32 clients`,
      value: rate(results.hearth[32]),
      unit: 'req/s',
      limit: { what: 'bare node:http', value: rate(results.bare[32]) },
      bound: { op: '>=', value: 0.5 },
      note,
    },
  ]
}
