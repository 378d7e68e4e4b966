import { median, shuffled, type Row } from './measure.ts'
import { deployNative, kinds, nativeCode, type Kind } from './native-subject.ts'
import { bareServer, body200, invoke, invokeHeaders, invokeUrl, withPlatform } from './subject.ts'
import { load, type LoadResult } from './wrk.ts'

const rounds = 3
const seconds = 2
const warmUpSeconds = 3
/** Native programs are promised the whole call within this time; of what P1 promises for interpreters, nothing is said of them. */
const warmMs = 0.3

type Subject = Kind | 'bare'
type Results = Record<Subject, Record<1 | 32, LoadResult[]>>

/** P1 for programs that are no interpreters: handlers built from source, a Lambda bootstrap, a web server; all beside one bare server, shuffled rounds in one run. */
export default async function nativeWarm(folder: string): Promise<Row[]> {
  return withPlatform(folder, {}, async (platform) => {
    const bare = await bareServer(folder)
    try {
      for (const kind of kinds) {
        await deployNative(platform, { kind, name: `p1-${kind}`, code: await nativeCode(folder, kind) })
        await invoke(platform, `p1-${kind}`)
      }
      const headers = invokeHeaders(platform)
      const hearth = kinds.map((kind) => [kind, { url: invokeUrl(platform, `p1-${kind}`), headers }] as const)
      const targets = new Map<Subject, { url: string; headers: Record<string, string> }>([
        ['bare', { url: bare.url, headers: { 'content-type': 'application/json' } }],
        ...hearth,
      ])
      return rowsOf(await measure(folder, targets))
    } finally {
      bare.process.kill('SIGKILL')
    }
  })
}

async function measure(
  folder: string,
  targets: ReadonlyMap<Subject, { url: string; headers: Record<string, string> }>,
): Promise<Results> {
  const none = (): Record<1 | 32, LoadResult[]> => ({ 1: [], 32: [] })
  const results: Results = { bare: none(), go: none(), rust: none(), provided: none(), http: none() }
  const common = { method: 'POST', body: body200, folder } as const
  for (const target of targets.values()) await load({ ...common, ...target, clients: 32, seconds: warmUpSeconds })
  for (let round = 0; round < rounds; round++)
    for (const clients of [1, 32] as const)
      for (const [subject, target] of shuffled([...targets]))
        results[subject][clients].push(await load({ ...common, ...target, clients, seconds }))
  return results
}

function rowsOf(results: Results): Row[] {
  const p50 = (subject: Subject): number => median(results[subject][1].map(({ p50Ms }) => p50Ms))
  const rate = (subject: Subject): number => median(results[subject][32].map((result) => result.requestsPerSecond))
  return kinds.flatMap((kind): Row[] => {
    const errors = [...results[kind][1], ...results[kind][32]].reduce((sum, result) => sum + result.errors, 0)
    const note = `medians of ${rounds} shuffled rounds of ${seconds} s, 200-byte JSON, ${errors} errors, auth, admission, limits, receipts and logs on`
    return [
      {
        promise: 'NATIVE',
        subject: `${kind}: p50 of a warm call over HTTP, 1 client`,
        value: p50(kind),
        unit: 'ms',
        limit: null,
        bound: kind === 'provided' || kind === 'rust' ? { op: '<=', value: warmMs } : null,
        note: `${(p50(kind) - p50('bare')).toFixed(3)} ms more than a bare server's ${p50('bare').toFixed(3)}; ${note}`,
      },
      {
        promise: 'NATIVE',
        subject: `${kind}: requests/s, 32 clients`,
        value: rate(kind),
        unit: 'req/s',
        limit: { what: 'bare node:http', value: rate('bare') },
        bound: null,
        note,
      },
    ]
  })
}
