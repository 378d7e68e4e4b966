import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import http from 'node:http'
import path from 'node:path'
import { deployFiles, nodeFunction } from '../support/functions.ts'
import { median, percentile, shuffled, type Row } from './measure.ts'
import { invokeHeaders, invokeUrl, withPlatform } from './subject.ts'

const bytes = 100_000_000
const chunkBytes = 64 * 1024
const rounds = 5
const firstBytes = 100

/** The same writes in the handler and in the bare producer. */
const produce = `async (out, bytes) => {
  const chunk = Buffer.alloc(${chunkBytes}, 120)
  for (let left = bytes; left > 0; left -= chunk.length)
    if (!out.write(left < chunk.length ? chunk.subarray(0, left) : chunk)) await new Promise((resolve) => out.once('drain', resolve))
  out.end()
}`
const handler = `const produce = ${produce}
exports.handler = awslambda.streamifyResponse(async (event, out) => {
  if (event.bytes) return produce(out, event.bytes)
  out.write(String(process.hrtime.bigint()))
  await new Promise((resolve) => setTimeout(resolve, 20))
  out.end()
})`
/** A server that makes the bytes, and in a process of its own one that pipes them on: what the platform does with a function's reply, and nothing else. */
const bare = `const http = require('node:http'), produce = ${produce}, from = process.argv[2]
http.createServer((request, response) => {
  if (from) http.get(from, (reply) => reply.pipe(response))
  else void produce(response, ${bytes})
}).listen(0, '127.0.0.1', function () { console.log('http://127.0.0.1:' + this.address().port) })`

/** Streaming of a reply: throughput against a bare pipe in the same run, and how long the first write takes to its client. */
export default async function pStream(folder: string): Promise<Row[]> {
  return withPlatform(folder, {}, async (platform) => {
    await deployFiles(platform, nodeFunction('stream', handler, { timeoutMs: 60_000, memoryMib: 512 }))
    const target = {
      url: invokeUrl(platform, 'stream'),
      headers: { ...invokeHeaders(platform), 'hearth-stream': 'true' },
    }
    const file = path.join(folder, 'bare-pipe.cjs')
    await writeFile(file, bare)
    const children: ChildProcess[] = []
    try {
      const producer = await start(file, [], children)
      const pipe = await start(file, [producer], children)
      const rates: Record<'bare' | 'hearth', number[]> = { bare: [], hearth: [] }
      const run = {
        bare: async () => read(pipe, {}, ''),
        hearth: async () => read(target.url, target.headers, JSON.stringify({ bytes })),
      }
      for (const each of [run.bare, run.hearth]) await each()
      for (let round = 0; round < rounds; round++)
        for (const name of shuffled(['bare', 'hearth'] as const)) rates[name].push((await run[name]()).mibPerSecond)
      const firstMs: number[] = []
      for (let count = 0; count < firstBytes; count++) {
        const { first, firstAt } = await read(target.url, target.headers, '{}')
        firstMs.push(Number(firstAt - BigInt(first)) / 1e6)
      }
      return rows(rates, firstMs)
    } finally {
      for (const child of children) child.kill('SIGKILL')
    }
  })
}

function rows(rates: Record<'bare' | 'hearth', number[]>, firstMs: number[]): Row[] {
  const common = { promise: 'P-stream', subject: 'node streamifyResponse' }
  return [
    {
      ...common,
      value: median(rates.hearth),
      unit: 'MiB/s streamed',
      limit: { what: 'bare node:http pipe', value: median(rates.bare) },
      bound: { op: '>=', value: 0.5 },
      note: `${bytes / 1e6} MB in writes of 64 KiB, one connection, median of ${rounds} shuffled rounds`,
      samples: rates,
    },
    {
      ...common,
      value: median(firstMs),
      unit: 'ms from first write to client, p50',
      limit: null,
      bound: { op: '<=', value: 2 },
      note: `${firstBytes} warm invocations one after the other; p99 ${percentile(firstMs, 0.99).toFixed(2)} ms`,
      samples: { hearth: firstMs },
    },
  ]
}

async function start(file: string, args: readonly string[], children: ChildProcess[]): Promise<string> {
  const child = spawn(process.execPath, [file, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return line.toString().trim()
}

interface Read {
  readonly mibPerSecond: number
  readonly first: string
  /** Of the machine's monotonic clock, which the handler reads too. */
  readonly firstAt: bigint
}

async function read(url: string, headers: Record<string, string>, body: string): Promise<Read> {
  const startedAt = performance.now()
  const request = http.request(url, { method: 'POST', headers })
  request.end(body)
  const [reply] = (await once(request, 'response')) as [http.IncomingMessage]
  let total = 0
  let first = ''
  let firstAt = 0n
  reply.on('data', (chunk: Buffer) => {
    if (total === 0) {
      firstAt = process.hrtime.bigint()
      first = chunk.subarray(0, 40).toString()
    }
    total += chunk.length
  })
  await once(reply, 'end')
  return { mibPerSecond: total / 2 ** 20 / ((performance.now() - startedAt) / 1000), first, firstAt }
}
