import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { failureOf, readSlowly, testStarts, type Starts } from '../support/harness.ts'
import { nodeHarness } from '../support/runtimes.ts'
import { codeFolder, InitFailed, Subject } from '../support/subject.ts'

/* The Node runtime: starts, handlers, ends. */

const harness = nodeHarness()
const { spawn, start, startFailure } = harness

const { version } = await (async () => {
  const subject = spawn()
  const hello = await subject.hello
  subject.stop()
  return hello
})()
const [major = 0, minor = 0] = version.split('.').map(Number)
const stripsTypes = major > 22 || (major === 22 && minor >= 18)

describe('Node runtime: the start', () => {
  test('HELLO names runtime, version and process; READY tells the load time', async () => {
    const subject = spawn()
    const hello = await subject.hello
    assert.equal(hello.runtime, 'node')
    assert.equal(hello.pid, subject.child.pid)
    const ready = await subject.bind(codeFolder({ 'index.js': 'exports.handler = async () => 1' }), 'index.handler')
    assert.ok(ready.loadMs > 0 && ready.loadMs < 60_000)
  })

  test('the environment is the bound one, the folder the code', async () => {
    const subject = await start(
      { 'index.js': 'exports.handler = async () => ({ env: process.env, cwd: process.cwd() })' },
      'index.handler',
      { env: { GREETING: 'gr\u00fc\u00df dich', TZ: 'Europe/Berlin' } },
    )
    const { env, cwd } = await subject.json<{ env: Record<string, string>; cwd: string }>()
    assert.equal(env['GREETING'], 'gr\u00fc\u00df dich')
    assert.equal(env['TZ'], 'Europe/Berlin')
    assert.equal(env['HOME'], '/tmp')
    assert.equal(env['HEARTH_EPOCH'], undefined)
    assert.equal(env['AWS_LAMBDA_FUNCTION_NAME'], 'subject')
    assert.equal(env['LAMBDA_TASK_ROOT'], cwd)
  })

  const found: Starts['found'] = [
    ['folders', 'src/api/index.handler', { 'src/api/index.js': 'exports.handler = async () => "ok"' }],
    ['paths as a shell writes them', './src/index.handler', { 'src/index.js': 'exports.handler = async () => "ok"' }],
    ['names in brackets', 'pages/[id].handler', { 'pages/[id].js': 'exports.handler = async () => "ok"' }],
    ['nested exports', 'index.a.b', { 'index.js': 'exports.a = { b: async () => "ok" }' }],
    ['.mjs', 'index.handler', { 'index.mjs': 'export const handler = async () => "ok"' }],
    ['.cjs', 'index.handler', { 'index.cjs': 'exports.handler = async () => "ok"' }],
    [
      'an ES module by package.json',
      'index.handler',
      {
        'package.json': '{"type":"module"}',
        'index.js': 'import fs from "node:fs"; await 0; export const handler = async () => fs ? "ok" : 0',
      },
    ],
    [
      '.js before .mjs',
      'index.handler',
      {
        'index.mjs': 'export const handler = async () => "mjs"',
        'index.js': 'exports.handler = async () => "ok"',
      },
    ],
    [
      'packages in node_modules',
      'index.handler',
      {
        'node_modules/thing/index.js': 'module.exports = "ok"',
        'index.js': 'exports.handler = async () => require("thing")',
      },
    ],
    ['a folder with index.js', 'app.handler', { 'app/index.js': 'exports.handler = async () => "ok"' }],
    ['the default export', 'index.default', { 'index.mjs': 'export default async () => "ok"' }],
    ['a handler without a dot', 'index', { 'index.cjs': 'module.exports = async () => "ok"' }],
  ]
  test('TypeScript runs where Node strips types, else the error names the fix', async () => {
    const files = {
      'index.ts':
        'interface Event { readonly n: number }\nexport const handler = async (event: Event): Promise<number> => event.n + 1\n',
      'package.json': '{"type":"module"}',
    }
    if (stripsTypes) assert.equal(await (await start(files)).json({ n: 1 }), 2)
    else {
      const failure = await startFailure(files)
      assert.equal(failure.errorType, 'Runtime.ImportModuleError')
      assert.match(failure.errorMessage, /^Node [\d.]+ cannot run index\.ts: choose runtime node24 or node26/)
    }
  })

  const failing: Starts['failing'] = [
    [
      'no such file',
      'index.handler',
      {},
      'Runtime.ImportModuleError',
      /^Cannot find module "index" in the function's code: tried index\.js, /,
    ],
    [
      'no such export',
      'index.other',
      { 'index.js': '' },
      'Runtime.HandlerNotFound',
      /^index\.other is undefined or not exported$/,
    ],
    [
      'an export that is no function',
      'index.handler',
      { 'index.js': 'exports.handler = 1' },
      'Runtime.HandlerNotFound',
      /is not a function/,
    ],
    ['no handler name', '.handler', {}, 'Runtime.MalformedHandlerName', /^Bad handler "\.handler"/],
    ['a way out of the code', '../x.handler', {}, 'Runtime.MalformedHandlerName', /^Bad handler/],
    [
      'a missing package',
      'index.handler',
      { 'index.js': 'require("not-there")' },
      'Runtime.ImportModuleError',
      /Cannot find module 'not-there'/,
    ],
    [
      'a missing import',
      'index.handler',
      { 'index.mjs': 'import "not-there"' },
      'Runtime.ImportModuleError',
      /Cannot find package 'not-there'/,
    ],
    [
      'a syntax error',
      'index.handler',
      { 'index.js': 'exports.handler = (' },
      'Runtime.UserCodeSyntaxError',
      /^SyntaxError: /,
    ],
    [
      'a syntax error in a module',
      'index.handler',
      { 'index.mjs': 'export const = 1' },
      'Runtime.UserCodeSyntaxError',
      /^SyntaxError: /,
    ],
    [
      'a throw while loading',
      'index.handler',
      { 'index.js': 'throw new RangeError("at load")' },
      'RangeError',
      /^at load$/,
    ],
    [
      'a rejection while loading',
      'index.handler',
      { 'index.mjs': 'await Promise.reject(new RangeError("at load"))' },
      'RangeError',
      /^at load$/,
    ],
  ]
  testStarts(harness, { found, failing })

  test('a failed start tells where, and ends the process with 1', async () => {
    const subject = spawn()
    const code = codeFolder({ 'index.js': 'console.log("loading")\nfunction f() { throw new Error("at load") }\nf()' })
    await assert.rejects(subject.bind(code, 'index.handler'), (error: unknown) => {
      assert.ok(error instanceof InitFailed)
      assert.match(error.failure.stackTrace[0] ?? '', /^at f \(.*index\.js:2:/)
      return true
    })
    assert.equal(await subject.exited, 1)
    assert.equal(subject.logged(0), 'loading\n')
  })

  test('process.exit while loading is an exit without READY', async () => {
    const subject = spawn()
    await assert.rejects(subject.bind(codeFolder({ 'index.js': 'process.exit(7)' }), 'index.handler'))
    assert.equal(await subject.exited, 7)
  })
})

const styles = `
const { Readable } = require('node:stream')
class Shortage extends Error { constructor(m) { super(m); this.name = 'Shortage' } }
const cycle = {}; cycle.self = cycle
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const ways = {
  echo: async ({ value }) => value,
  sync: ({ value }) => value,
  nothing: async () => {},
  throw: async () => { throw new Shortage('thrown on purpose') },
  syncThrow: () => { throw new TypeError('at once') },
  reject: () => Promise.reject(new RangeError('rejected')),
  cause: async () => { throw new Error('outer', { cause: new TypeError('inner') }) },
  throwText: async () => { throw 'just text' },
  throwObject: async () => { throw { code: 7 } },
  throwNull: async () => { throw null },
  cycle: async () => cycle,
  bigint: async () => 10n,
  toJson: async () => ({ toJSON() { throw new Error('no json') } }),
  buffer: async () => Buffer.from([0, 255, 1, 254]),
  arrayBuffer: async () => new Uint8Array([1, 2, 3]).buffer,
  emptyBuffer: async () => Buffer.alloc(0),
  readable: async () => Readable.from([Buffer.from('one,'), 'two']),
  large: async ({ bytes }) => 'x'.repeat(bytes),
  length: async ({ pad }) => pad.length,
  exit: () => process.exit(3),
  uncaught: () => new Promise(() => setTimeout(() => { throw new Shortage('out of band') }, 1)),
  unhandled: () => new Promise(() => { setTimeout(() => Promise.reject(new Shortage('nobody caught')), 1) }),
  hang: () => new Promise(() => {}),
  longStack: async () => { const e = new Error('\\u0001'.repeat(100_000)); e.name = 'N'.repeat(1000); throw e },
  context: async (event, context) => ({ ...context, remaining: context.getRemainingTimeInMillis(), aborted: context.signal.aborted }),
  deadline: (event, { signal }) => new Promise((resolve) => signal.addEventListener('abort', () => resolve(String(signal.reason)))),
  waitUntil: async (event, context) => { context.waitUntil(sleep(30).then(() => console.log('worked late'))); context.waitUntil(Promise.reject(new Error('work failed'))); return 'early' },
  lateLog: async () => { setTimeout(() => console.log('too late'), 20); return 'early' },
  succeed: (event, context) => { context.succeed('by succeed'); return sleep(50) },
  fail: (event, context) => { context.fail(new Shortage('by fail')); return sleep(50) },
  log: async () => { console.log('one\\ntwo %d', 2); console.error('oops'); process.stdout.write('half'); return 'ok' },
  logLarge: async () => { console.log('\u00e9'.repeat(100_000)); return await new Promise((resolve) => process.stdout.write('end', () => resolve('flushed'))) },
}
exports.handler = (event, context) => ways[event.do](event, context)
exports.raw = async (event) => ({ isBuffer: Buffer.isBuffer(event), length: event.length })
exports.callback = (event, context, callback) => { setTimeout(() => callback(event.error ? new Shortage(event.error) : null, event.value), 5) }
exports.plainWithThree = (event, context, callback) => 'returned'
exports.context = (event, context, callback) => { setTimeout(() => context.done(null, 'by done'), 5) }
exports.stream = awslambda.streamifyResponse(async (event, stream, context) => {
  const out = event.status ? awslambda.HttpResponseStream.from(stream, { statusCode: event.status, headers: { 'Content-Type': 'text/plain' }, cookies: ['a=1'] }) : stream
  for (let n = 0; n < event.chunks; n++) out.write('chunk ' + n + '\\n')
  out.end()
})
`

describe('Node runtime: handlers', () => {
  let subject: Subject
  before(async () => {
    subject = await start({ 'index.js': styles })
  })
  const failing = (event: unknown) => failureOf(subject, event)

  test('async, plain return, undefined', async () => {
    assert.deepEqual(await subject.json({ do: 'echo', value: { a: [1, '\u00fc', null] } }), { a: [1, '\u00fc', null] })
    assert.equal(await subject.json({ do: 'sync', value: 5 }), 5)
    const answer = await subject.call({ do: 'nothing' })
    assert.equal(answer.body.toString(), 'null')
    assert.equal(answer.head, null)
  })

  test('errors: type, message, lines of the user code', async () => {
    const thrown = await failing({ do: 'throw' })
    assert.equal(thrown.errorType, 'Shortage')
    assert.equal(thrown.errorMessage, 'thrown on purpose')
    assert.match(thrown.stackTrace[0] ?? '', /^at .*index\.js:\d+:\d+/)
    assert.ok(thrown.stackTrace.every((line) => !line.includes('runtimes/node')))
    assert.equal((await failing({ do: 'syncThrow' })).errorType, 'TypeError')
    assert.equal((await failing({ do: 'reject' })).errorType, 'RangeError')
    assert.ok((await failing({ do: 'cause' })).stackTrace.includes('Caused by: TypeError: inner'))
  })

  test('what is not an Error can be thrown too', async () => {
    assert.deepEqual(await failing({ do: 'throwText' }), {
      errorType: 'string',
      errorMessage: 'just text',
      stackTrace: [],
    })
    assert.deepEqual(await failing({ do: 'throwObject' }), {
      errorType: 'object',
      errorMessage: '{"code":7}',
      stackTrace: [],
    })
    assert.deepEqual(await failing({ do: 'throwNull' }), { errorType: 'object', errorMessage: 'null', stackTrace: [] })
    const long = await failing({ do: 'longStack' })
    assert.equal(long.errorType.length, 256)
  })

  test('results that are no JSON: Runtime.JSONStringifyError', async () => {
    for (const way of ['cycle', 'bigint', 'toJson']) {
      const error = await failing({ do: way })
      assert.equal(error.errorType, 'Runtime.JSONStringifyError', way)
      assert.match(error.errorMessage, /^Unable to stringify response body: /)
    }
  })

  test('bytes and streams go out raw, with their type', async () => {
    for (const [way, body] of [
      ['buffer', Buffer.from([0, 255, 1, 254])],
      ['arrayBuffer', Buffer.from([1, 2, 3])],
      ['emptyBuffer', Buffer.alloc(0)],
      ['readable', Buffer.from('one,two')],
    ] as const) {
      const answer = await subject.call({ do: way })
      assert.deepEqual(answer.body, body, way)
      assert.deepEqual(answer.head, { status: 200, headers: [['content-type', 'application/octet-stream']] })
    }
  })

  test('an empty payload is {}, a wrong one Runtime.UnmarshalError', async () => {
    const { error } = await subject.call(Buffer.from('{"do":'))
    assert.equal(error?.errorType, 'Runtime.UnmarshalError')
    // {} has no "do", so the handler itself fails.
    assert.equal((await subject.call(Buffer.alloc(0))).error?.errorType, 'TypeError')
  })

  test('6 MB in and out, through a slow reader', async () => {
    const bytes = 6 * 1024 * 1024
    assert.equal(await subject.json({ do: 'length', pad: 'x'.repeat(bytes - 100) }), bytes - 100)
    assert.equal(await readSlowly(subject, { do: 'large', bytes: bytes - 2 }), bytes)
  })

  test('context: Lambda fields, remaining time, signal', async () => {
    const { remaining, deadline, ...rest } = await subject.json<Record<string, unknown>>({ do: 'context' })
    assert.ok(Number(remaining) > 29_000 && Number(remaining) <= 30_000)
    assert.ok(Number(deadline) > Date.now())
    assert.deepEqual(rest, {
      awsRequestId: '0190-id',
      requestId: '0190-id',
      functionName: 'subject',
      functionVersion: '3',
      memoryLimitInMB: '256',
      invokedFunctionArn: 'arn:aws:lambda:local:000000000000:function:subject',
      logGroupName: '/hearth/default/subject',
      logStreamName: 'i-1',
      traceparent: null,
      callbackWaitsForEmptyEventLoop: true,
      aborted: false,
    })
  })

  test('the signal aborts at the deadline and at CANCEL', async () => {
    assert.equal(
      await subject.json({ do: 'deadline' }, { deadlineMs: Date.now() + 50 }),
      'Error: The deadline has passed.',
    )
    const answer = await subject.call(
      { do: 'deadline' },
      { started: (stream) => void delay(50).then(() => stream.cancel('caller left')) },
    )
    assert.equal(answer.error, null)
  })

  test('waitUntil: the answer first, logs of the work on its stream, IDLE at the end', async () => {
    const before = subject.logs.length
    const answer = await subject.call({ do: 'waitUntil' })
    assert.equal(answer.body.toString(), '"early"')
    assert.equal(answer.openWork, true)
    await answer.idle
    const late = subject.logs.slice(before)
    assert.match(
      late.map((piece) => piece.text).join(''),
      /Work handed to waitUntil failed: Error: work failed[^]*worked late\n/,
    )
    assert.ok(late.every((piece) => piece.stream > 0))
  })

  test('output: on the stream of the invocation, both descriptors, in order; after its end on stream 0', async () => {
    const before = subject.logs.length
    await subject.call({ do: 'log' })
    const pieces = subject.logs.slice(before)
    assert.deepEqual(
      pieces.map(({ fd, text }) => [fd, text]),
      [
        [1, 'one\ntwo 2\n'],
        [2, 'oops\n'],
        [1, 'half'],
      ],
    )
    assert.ok(pieces.every(({ stream }) => stream > 0))
    await subject.call({ do: 'lateLog' })
    await delay(60)
    assert.deepEqual(subject.logs.at(-1), { stream: 0, fd: 1, text: 'too late\n' })
  })

  test('output of more than a frame is split between characters', async () => {
    const before = subject.logs.length
    assert.equal(await subject.json({ do: 'logLarge' }), 'flushed')
    const text = subject.logs
      .slice(before)
      .map((piece) => piece.text)
      .join('')
    assert.equal(text, `${'\u00e9'.repeat(100_000)}\nend`)
  })

  test('context.succeed and context.fail settle', async () => {
    assert.equal(await subject.json({ do: 'succeed' }), 'by succeed')
    assert.equal((await failing({ do: 'fail' })).errorMessage, 'by fail')
  })

  test('1,000 calls one after the other, each its own answer', async () => {
    for (let n = 0; n < 1_000; n++) assert.equal(await subject.json({ do: 'echo', value: n }), n)
  })

  test('calls that come together are run in order', async () => {
    const results = await Promise.all([1, 2, 3, 4].map((value) => subject.json({ do: 'echo', value })))
    assert.deepEqual(results, [1, 2, 3, 4])
  })

  test('callbacks: result, error, plain return, context.done', async () => {
    const callback = await start({ 'index.js': styles }, 'index.callback')
    assert.equal(await callback.json({ value: 'called' }), 'called')
    assert.deepEqual((await callback.call({ error: 'refused' })).error?.errorType, 'Shortage')
    assert.equal(await (await start({ 'index.js': styles }, 'index.plainWithThree')).json(), 'returned')
    assert.equal(await (await start({ 'index.js': styles }, 'index.context')).json(), 'by done')
  })

  test('other content types arrive as a Buffer', async () => {
    const raw = await start({ 'index.js': styles }, 'index.raw')
    assert.deepEqual(await raw.json(Buffer.from([1, 2, 3]), { contentType: 'image/png' }), {
      isBuffer: true,
      length: 3,
    })
  })

  test('awslambda.streamifyResponse streams with head and cookies', async () => {
    const stream = await start({ 'index.js': styles }, 'index.stream')
    const answer = await stream.call({ chunks: 3, status: 201 })
    assert.equal(answer.body.toString(), 'chunk 0\nchunk 1\nchunk 2\n')
    assert.deepEqual(answer.head, {
      status: 201,
      headers: [
        ['content-type', 'text/plain'],
        ['set-cookie', 'a=1'],
      ],
    })
    assert.deepEqual((await stream.call({ chunks: 1 })).head?.headers, [['content-type', 'application/octet-stream']])
  })
})

describe('Node runtime: memory', () => {
  const garbage = `
const fs = require('node:fs')
const things = (n) => Array.from({ length: 20_000 }, (_, k) => ({ k, s: 'text' + n + k }))
const live = Array.from({ length: 15 }, (_, n) => things(n))
exports.handler = async () => {
  for (let round = 0; round < 30; round++) Array.from({ length: 6 }, (_, n) => things(n + round))
  return { live: live.length, peakMib: Number(/VmHWM:\\s+(\\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]) / 1024 }
}`
  test('a handler with 30 MB live and much garbage stays below a limit of 256 MiB', async () => {
    const subject = await start({ 'index.js': garbage })
    const { peakMib } = await subject.json<{ peakMib: number }>()
    assert.ok(peakMib < 256, `${peakMib} MiB`)
  })
})

describe('Node runtime: the end', () => {
  test('process.exit in a handler is an exit', async () => {
    const subject = await start({ 'index.js': styles })
    await assert.rejects(subject.call({ do: 'exit' }))
    assert.equal(await subject.exited, 3)
  })

  for (const [way, type] of [
    ['uncaught', 'Shortage'],
    ['unhandled', 'Runtime.UnhandledPromiseRejection'],
  ] as const)
    test(`${way}: FAIL ${type}, then exit 1`, async () => {
      const subject = await start({ 'index.js': styles })
      const { error } = await subject.call({ do: way })
      assert.equal(error?.errorType, type)
      assert.match(error?.errorMessage ?? '', /out of band|nobody caught/)
      assert.equal(await subject.exited, 1)
    })

  test('a handler that never settles keeps the process alive, PING is answered', async () => {
    const subject = await start({ 'index.js': styles })
    subject.call({ do: 'hang' }).catch(() => {})
    await delay(100)
    await subject.link.ping()
    assert.equal(subject.child.exitCode, null)
  })

  test('SHUTDOWN ends with 0, after SIGTERM listeners had their grace', async () => {
    const plain = await start({ 'index.js': styles })
    plain.link.shutdown(1_000)
    assert.equal(await plain.exited, 0)
    const listening = await start({
      'index.js': `process.on('SIGTERM', () => { console.log('bye'); setTimeout(() => process.exit(0), 20) }); exports.handler = async () => 1`,
    })
    listening.link.shutdown(1_000)
    assert.equal(await listening.exited, 0)
    assert.equal(listening.logged(0), 'bye\n')
    const stubborn = await start({ 'index.js': `process.on('SIGTERM', () => {}); exports.handler = async () => 1` })
    stubborn.link.shutdown(50)
    assert.equal(await stubborn.exited, 0)
  })

  test('the end of the channel ends the process', async () => {
    const subject = await start({ 'index.js': styles })
    subject.link.close()
    assert.equal(await subject.exited, 0)
  })
})
