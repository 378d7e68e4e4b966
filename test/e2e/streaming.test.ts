import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import http from 'node:http'
import { after, before, test } from 'node:test'
import { call, deployFiles, nodeFunction, type Deployment } from '../support/functions.ts'
import { startPlatform, type Platform } from '../support/platform.ts'
import { until } from '../support/until.ts'

/* Replies that are passed on as they come: `Hearth-Stream: true`, real runtimes, raw HTTP. */

const streamify = `
const { setTimeout: wait } = require('node:timers/promises')
exports.handler = awslambda.streamifyResponse(async (event, out, context) => {
  if (event.head) out = awslambda.HttpResponseStream.from(out, { statusCode: 201, headers: { 'X-Made': 'yes' }, cookies: ['a=1'] })
  for (let sent = 0; sent < event.parts; sent++) {
    if (!out.write(Buffer.alloc(event.bytes, 65 + (sent % 26)))) await require('node:events').once(out, 'drain')
    console.log('part', sent)
    if (event.waitMs) await wait(event.waitMs)
    if (event.throwAt === sent) throw new TypeError('on purpose')
    if (event.exitAt === sent) process.exit(3)
  }
  out.end()
})`

const generators = `
exports.handler = async function* (event) {
  if (event.head) yield { statusCode: 202, headers: { 'content-type': 'text/event-stream' } }
  for (let n = 0; n < event.parts; n++) yield 'part ' + n + '\\n'
}`

const python = `
import time
def handler(event, context):
    if event.get("head"):
        yield {"statusCode": 203, "headers": {"Content-Type": "text/csv"}, "cookies": ["b=2"]}
    try:
        for n in range(event["parts"]):
            yield b"x" * event["bytes"] if "bytes" in event else f"part {n}\\n"
            time.sleep(event.get("wait", 0))
            if event.get("raise_at") == n:
                raise KeyError("on purpose")
    finally:
        print("generator closed")
`

/** Parts that end in the middle of a character, and one that is none. */
const cutter = `
const { setTimeout: wait } = require('node:timers/promises')
exports.handler = awslambda.streamifyResponse(async (event, out) => {
  for (const part of [[0x61, 0xe2, 0x82], [0xac], [0xff], [0x7a]]) {
    out.write(Buffer.from(part))
    await wait(100)
  }
  out.end()
})`

const functions: readonly Deployment[] = [
  nodeFunction('cutter', cutter),
  nodeFunction('streamify', streamify, { timeoutMs: 60_000 }),
  nodeFunction('generate', generators),
  nodeFunction(
    'web',
    `export default { fetch: () => new Response(new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode('a')); c.enqueue(new TextEncoder().encode('b')); c.close() } }), { status: 207, headers: { 'content-type': 'text/x' } }) }`,
  ),
  nodeFunction(
    'plain',
    `exports.handler = async (event) => { if (event.fail) throw new RangeError('no'); return { n: event.n } }`,
  ),
  {
    name: 'py',
    runtime: 'python',
    handler: 'index.handler',
    files: { 'index.py': python },
    config: { timeoutMs: 60_000 },
  },
]

let platform: Platform
before(async () => {
  platform = await startPlatform({ flags: ['--stream-reply-mib', '64'] })
  for (const each of functions)
    await deployFiles(
      platform,
      each.name === 'web'
        ? { ...each, handler: 'index.default', files: { 'index.mjs': each.files['index.js'] ?? '' } }
        : each,
    )
})
after(async () => platform.stop())

interface Opened {
  readonly request: http.ClientRequest
  readonly reply: http.IncomingMessage
  readonly sentAt: number
}

async function open(name: string, event: unknown, headers: Record<string, string> = {}): Promise<Opened> {
  const url = `${platform.url}/v1/functions/${name}/invoke`
  const own = {
    authorization: `Bearer ${platform.apiKey}`,
    'hearth-stream': 'true',
    'content-type': 'application/json',
  }
  const sentAt = performance.now()
  const request = http.request(url, { method: 'POST', headers: { ...own, ...headers }, agent: false })
  request.end(JSON.stringify(event))
  const [reply] = (await once(request, 'response')) as [http.IncomingMessage]
  return { request, reply, sentAt }
}

async function textOf({ reply }: Opened): Promise<string> {
  let text = ''
  for await (const chunk of reply) text += String(chunk)
  return text
}

async function outcomeOf({ reply }: Opened): Promise<{ outcome: string | null; error: { errorType: string } | null }> {
  const id = String(reply.headers['hearth-invocation-id'])
  const path = `/v1/invocations/${id}`
  const isDone = async (): Promise<true | string> => {
    const { state } = (await call(platform, 'GET', path)).json()
    return state === 'done' || String(state)
  }
  await until(isDone, { what: 'the receipt' })
  return (await call(platform, 'GET', path)).json()
}

/** Of the platform, without the pages of its program, which the kernel drops and reads again as it likes. */
async function ownMib(): Promise<number> {
  const status = await readFile(`/proc/${platform.pid}/status`, 'utf8')
  return Number(/RssAnon:\s+(\d+)/.exec(status)?.[1]) / 1024
}

test('streamifyResponse: parts arrive while the handler runs, the outcome in the trailers', async () => {
  const opened = await open('streamify', { parts: 4, bytes: 3, waitMs: 200 })
  assert.equal(opened.reply.statusCode, 200)
  assert.equal(opened.reply.headers['hearth-outcome'], undefined)
  assert.match(String(opened.reply.headers['hearth-start']), /warm|cold/)
  const times: number[] = []
  let text = ''
  for await (const chunk of opened.reply) {
    times.push(performance.now())
    text += String(chunk)
  }
  assert.equal(text, 'AAABBBCCCDDD')
  assert.ok((times.at(-1) ?? 0) - (times[0] ?? 0) > 400, times.join(' '))
  const { trailers } = opened.reply
  assert.equal(trailers['hearth-outcome'], 'succeeded')
  assert.equal(trailers['hearth-effect'], 'completed')
  assert.match(trailers['server-timing'] ?? '', /admit;dur=/)
})

test('HttpResponseStream.from: its status, headers and type; cookies not on the origin of the API', async () => {
  const opened = await open('streamify', { parts: 1, bytes: 1, head: true })
  assert.equal(opened.reply.statusCode, 201)
  assert.equal(opened.reply.headers['x-made'], 'yes')
  assert.equal(opened.reply.headers['set-cookie'], undefined)
  assert.equal(await textOf(opened), 'A')
})

test('generators of Node and Python: text as it comes; a first object is the head', async () => {
  const plain = await open('generate', { parts: 2 })
  assert.match(String(plain.reply.headers['content-type']), /^text\/plain/)
  assert.equal(await textOf(plain), 'part 0\npart 1\n')
  const node = await open('generate', { parts: 1, head: true })
  assert.deepEqual([node.reply.statusCode, node.reply.headers['content-type']], [202, 'text/event-stream'])
  assert.equal(await textOf(node), 'part 0\n')
  const py = await open('py', { parts: 2, head: true })
  assert.deepEqual([py.reply.statusCode, py.reply.headers['content-type']], [203, 'text/csv'])
  assert.equal(await textOf(py), 'part 0\npart 1\n')
})

test('a Web Response streams; a plain result comes as one piece; without the header nothing changes', async () => {
  const web = await open('web', {})
  assert.deepEqual([web.reply.statusCode, web.reply.headers['content-type'], await textOf(web)], [207, 'text/x', 'ab'])
  const plain = await open('plain', { n: 7 })
  assert.deepEqual([plain.reply.headers['content-type'], await textOf(plain)], ['application/json', '{"n":7}'])
  const whole = await open('streamify', { parts: 2, bytes: 1 }, { 'hearth-stream': 'false' })
  assert.equal(whole.reply.headers['content-length'], '2')
  assert.equal(whole.reply.headers['hearth-outcome'], 'succeeded')
})

test('a failure before the first byte is answered as without streaming', async () => {
  const opened = await open('plain', { fail: true })
  assert.equal(opened.reply.statusCode, 200)
  assert.equal(opened.reply.headers['hearth-function-error'], 'RangeError')
  assert.match(await textOf(opened), /"errorMessage":"no"/)
})

for (const [how, event, outcome, type] of [
  ['throws', { parts: 3, bytes: 3, waitMs: 50, throwAt: 1 }, 'failed', 'TypeError'],
  ['exits', { parts: 3, bytes: 3, waitMs: 50, exitAt: 1 }, 'crashed', 'Runtime.ExitError'],
] as const) {
  test(`a handler that ${how} midway: the connection breaks off, and the receipt says why`, async () => {
    const opened = await open('streamify', event)
    await assert.rejects(textOf(opened), /aborted/)
    const { outcome: told, error } = await outcomeOf(opened)
    assert.deepEqual([told, error?.errorType], [outcome, type])
  })

  test(`a handler that ${how} midway: a client that reads trailers finds it there`, async () => {
    const opened = await open('streamify', event, { te: 'trailers' })
    assert.equal(await textOf(opened), 'AAABBB')
    assert.equal(opened.reply.trailers['hearth-outcome'], outcome)
    assert.equal(opened.reply.trailers['hearth-function-error'], type)
  })
}

const slowStreams = 8
const slowEvent = { parts: 500, bytes: 100_000 }

/** What the platform holds for each of some streams whose clients take nothing; then all of them arrive whole. */
async function heldForSlowReaders(): Promise<number> {
  const beforeMib = await ownMib()
  const opened = await Promise.all(Array.from({ length: slowStreams }, () => open('streamify', slowEvent)))
  for (const { reply } of opened) reply.pause()
  const id = String(opened[0]?.reply.headers['hearth-invocation-id'])
  // Steady once the sockets and windows are full: the log tells how far the handler came.
  const parts = async (): Promise<number> => {
    const { items } = (await call(platform, 'GET', `/v1/functions/streamify/logs?tail=10000`)).json<{
      items: { invocation: string; text: string }[]
    }>()
    return items.filter(({ invocation, text }) => invocation === id && text.startsWith('part')).length
  }
  let last = -1
  let sameCount = 0
  const isSteady = async (): Promise<true | string> => {
    const now = await parts()
    sameCount = now === last && now > 0 ? sameCount + 1 : 0
    last = now
    return sameCount > 10 || `${now} parts`
  }
  await until(isSteady, { what: 'the handler to stop at a full window' })
  assert.ok(last < 200, `the handler wrote ${last} of 500 parts to a client that takes nothing`)
  const heldMib = ((await ownMib()) - beforeMib) / slowStreams
  const lengths = await Promise.all(
    opened.map(async ({ reply }) => {
      let bytes = 0
      for await (const chunk of reply) bytes += (chunk as Buffer).length
      return bytes
    }),
  )
  assert.deepEqual(
    lengths,
    Array.from({ length: slowStreams }, () => 50_000_000),
  )
  return heldMib
}

test('a slow reader slows the producer and costs the platform less than 1 MiB', async () => {
  // What has gone through leaves garbage up to a level that does not depend on who waits: it is reached first.
  await Promise.all(Array.from({ length: slowStreams }, async () => textOf(await open('streamify', slowEvent))))
  // Garbage that comes or goes meanwhile is counted with it, a few MiB in all; what is held is held each time.
  const held: number[] = []
  for (let round = 0; round < 3 && !held.some((mib) => mib < 1); round++) held.push(await heldForSlowReaders())
  assert.ok(
    held.some((mib) => mib < 1),
    `MiB for each stream: ${held.map((mib) => mib.toFixed(2)).join(', ')}`,
  )
})

for (const [name, event] of [
  ['streamify', { parts: 1000, bytes: 10, waitMs: 20 }],
  ['py', { parts: 1000, bytes: 10, wait: 0.02 }],
  ['py', { parts: 100_000, bytes: 60_000 }],
] as const)
  test(`${name}: a client that leaves cancels the invocation, and the Instance serves on (${JSON.stringify(event)})`, async () => {
    const opened = await open(name, event)
    await once(opened.reply, 'data')
    opened.request.destroy()
    const { outcome } = await outcomeOf(opened)
    assert.equal(outcome, 'cancelled')
    const next = await open(name, { parts: 1, bytes: 1 })
    await textOf(next)
    if (name === 'py') assert.equal(next.reply.headers['hearth-start'], 'warm')
  })

test('a reply over the limit is cut and named', async () => {
  const opened = await open('streamify', { parts: 700, bytes: 100_000 }, { te: 'trailers' })
  const bytes = (await textOf(opened)).length
  assert.ok(bytes <= 64 * 2 ** 20, String(bytes))
  assert.equal(opened.reply.trailers['hearth-function-error'], 'Function.ResponseSizeTooLarge')
})

test('Hearth-Stream refuses what it cannot do', async () => {
  const odd = await open('plain', {}, { 'hearth-stream': 'yes' })
  assert.equal(odd.reply.statusCode, 400)
  assert.match(await textOf(odd), /Hearth-Stream/)
  const log = await open('plain', {}, { 'hearth-log': 'tail' })
  assert.match(await textOf(log), /leave Hearth-Log out/)
})

test('CLI: --stream prints what comes, and its exit code says how it ended', async () => {
  const good = await platform.cli(['function', 'invoke', 'generate', '--stream', '--data', '{"parts":2}'])
  assert.deepEqual([good.code, good.stdout], [0, 'part 0\npart 1\n'])
  assert.match(good.stderr, /succeeded/)
  const cut = await platform.cli([
    'function',
    'invoke',
    'py',
    '--stream',
    '--data',
    '{"parts":3,"wait":0.1,"raise_at":0}',
  ])
  assert.deepEqual([cut.code, cut.stdout], [1, 'part 0\n'])
  assert.match(cut.stderr, /failed/)
})

test('CLI: --stream --json prints a line of JSON for each part, characters whole, and the end on the last', async () => {
  const linesOf = async (name: string, event: unknown): Promise<[number, Record<string, unknown>[]]> => {
    const args = ['function', 'invoke', name, '--stream', '--json', '--data', JSON.stringify(event)]
    const { code, stdout } = await platform.cli(args)
    const lines = stdout.split('\n').slice(0, -1)
    return [code, lines.map((line): Record<string, unknown> => JSON.parse(line))]
  }
  const [code, lines] = await linesOf('cutter', {})
  const last = lines.at(-1)
  assert.equal(code, 0)
  // Parts may come together, on a busy machine all of them: what they say in order is the bytes that were sent.
  const texts = lines
    .slice(0, -1)
    .map(({ chunk, isBase64 }) => Buffer.from(String(chunk), isBase64 ? 'base64' : 'utf8'))
  assert.deepEqual(Buffer.concat(texts), Buffer.from([...Buffer.from('a\u20ac'), 0xff, ...Buffer.from('z')]))
  assert.ok(lines.some(({ isBase64 }) => isBase64 === true))
  assert.deepEqual(
    [last?.['outcome'], last?.['effect'], last?.['version'], last?.['functionError'], last?.['status']],
    ['succeeded', 'completed', 1, null, 200],
  )
  assert.match(String(last?.['invocationId']), /^[0-9a-f-]{36}$/)
  assert.ok(last !== undefined && !('result' in last))

  const [cutCode, cut] = await linesOf('py', { parts: 3, wait: 0.1, raise_at: 0 })
  const cutEnd = cut.at(-1)
  assert.deepEqual([cutCode, cut[0], cutEnd?.['outcome']], [1, { chunk: 'part 0\n' }, 'failed'])
  assert.match(JSON.stringify(cutEnd?.['result']), new RegExp(`"errorType":"${String(cutEnd?.['functionError'])}"`))

  const [failedCode, failed] = await linesOf('plain', { fail: true })
  assert.deepEqual(
    [failedCode, failed.length, failed[0]?.['outcome'], failed[0]?.['functionError']],
    [1, 1, 'failed', 'RangeError'],
  )
  assert.match(JSON.stringify(failed[0]?.['result']), /"errorMessage":"no"/)

  const [absentCode, absent] = await linesOf('absent', {})
  assert.deepEqual([absentCode, absent], [4, []])
  const refused = await platform.cli(['function', 'invoke', 'py', '--stream', '--json', '--log'])
  assert.deepEqual([refused.code, refused.stdout], [2, ''])
})
