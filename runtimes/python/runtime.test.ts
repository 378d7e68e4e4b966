import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { failureOf, readSlowly, testStarts, type Starts } from '../support/harness.ts'
import { pythonHarness, pythonMissing as skip } from '../support/runtimes.ts'
import { codeFolder, InitFailed, Subject } from '../support/subject.ts'

/* The Python runtime: starts, handlers, ends. */

const harness = pythonHarness()
const { spawn, start } = harness

describe('Python runtime: the start', { skip }, () => {
  test('HELLO names runtime, version and process; READY tells the load time', async () => {
    const subject = spawn()
    const hello = await subject.hello
    assert.equal(hello.runtime, 'python')
    assert.match(hello.version, /^3\.\d+\.\d+$/)
    assert.equal(hello.pid, subject.child.pid)
    const ready = await subject.bind(codeFolder({ 'main.py': 'def handler(event, context): return 1' }), 'main.handler')
    assert.ok(ready.loadMs > 0 && ready.loadMs < 60_000)
  })

  test('the environment is the bound one, the folder the code', async () => {
    const code = `import os, time
def handler(event, context):
    return {"env": dict(os.environ), "cwd": os.getcwd(), "zone": time.tzname[0]}`
    const subject = await start({ 'main.py': code }, 'main.handler', {
      env: { GREETING: 'gr\u00fc\u00df dich', TZ: 'Europe/Berlin' },
    })
    const { env, cwd, zone } = await subject.json<{ env: Record<string, string>; cwd: string; zone: string }>()
    assert.equal(env['GREETING'], 'gr\u00fc\u00df dich')
    assert.equal(env['HOME'], '/tmp')
    assert.equal(env['HEARTH_EPOCH'], undefined)
    assert.equal(env['AWS_LAMBDA_FUNCTION_NAME'], 'subject')
    assert.equal(env['LAMBDA_TASK_ROOT'], cwd)
    assert.equal(zone, 'CET')
  })

  const found: Starts['found'] = [
    ['folders as packages', 'src/api/main.handler', { 'src/api/main.py': 'def handler(e, c): return "ok"' }],
    ['paths as a shell writes them', './src/main.handler', { 'src/main.py': 'def handler(e, c): return "ok"' }],
    ['names that are no identifiers', 'pages/[id].handler', { 'pages/[id].py': 'def handler(e, c): return "ok"' }],
    ['dotted modules', 'src.main.handler', { 'src/__init__.py': '', 'src/main.py': 'def handler(e, c): return "ok"' }],
    [
      'packages beside the code',
      'main.handler',
      { 'thing/__init__.py': 'value = "ok"', 'main.py': 'from thing import value\ndef handler(e, c): return value' },
    ],
    [
      'packages in python/',
      'main.handler',
      { 'python/thing.py': 'value = "ok"', 'main.py': 'import thing\ndef handler(e, c): return thing.value' },
    ],
    [
      'a callable object',
      'main.handler',
      { 'main.py': 'class H:\n  def __call__(self, e, c): return "ok"\nhandler = H()' },
    ],
    ['an asynchronous handler', 'main.handler', { 'main.py': 'async def handler(e, c): return "ok"' }],
  ]
  const failing: Starts['failing'] = [
    [
      'no such module',
      'main.handler',
      {},
      'Runtime.ImportModuleError',
      /^Unable to import module 'main': No module named 'main'$/,
    ],
    [
      'a missing package',
      'main.handler',
      { 'main.py': 'import not_there' },
      'Runtime.ImportModuleError',
      /No module named 'not_there'/,
    ],
    [
      'no such function',
      'main.other',
      { 'main.py': '' },
      'Runtime.HandlerNotFound',
      /^Handler 'other' missing on module 'main'$/,
    ],
    [
      'what cannot be called',
      'main.handler',
      { 'main.py': 'handler = 1' },
      'Runtime.HandlerNotFound',
      /is not a function$/,
    ],
    ['a handler without a dot', 'main', {}, 'Runtime.MalformedHandlerName', /^Bad handler 'main'/],
    ['a way out of the code', '../x.handler', {}, 'Runtime.MalformedHandlerName', /^Bad handler/],
    ['a built-in module', 'sys.exit', {}, 'Runtime.ImportModuleError', /^Cannot use built-in module sys/],
    [
      'a syntax error',
      'main.handler',
      { 'main.py': 'def handler(:' },
      'Runtime.UserCodeSyntaxError',
      /^Syntax error in module 'main': /,
    ],
    [
      'an exception while loading',
      'main.handler',
      { 'main.py': 'raise IndexError("at load")' },
      'IndexError',
      /^at load$/,
    ],
  ]
  testStarts(harness, { found, failing })

  test('a failed start tells where, and ends the process with 1', async () => {
    const subject = spawn()
    const code = codeFolder({ 'main.py': 'print("loading")\ndef f():\n    raise ValueError("at load")\nf()' })
    await assert.rejects(subject.bind(code, 'main.handler'), (error: unknown) => {
      assert.ok(error instanceof InitFailed)
      assert.match(error.failure.stackTrace.at(-1) ?? '', /main\.py", line 3, in f\n {4}raise ValueError/)
      assert.ok(error.failure.stackTrace.every((line) => !line.includes('hearth_')))
      return true
    })
    assert.equal(await subject.exited, 1)
    assert.equal(subject.logged(0), 'loading\n')
  })

  test('sys.exit while loading is an exit without READY', async () => {
    const subject = spawn()
    await assert.rejects(subject.bind(codeFolder({ 'main.py': 'import sys\nsys.exit(7)' }), 'main.handler'))
    assert.equal(await subject.exited, 7)
  })
})

const ways = `
import asyncio, decimal, logging, os, signal, sys, threading, time
logging.getLogger().setLevel(logging.INFO)

class Shortage(Exception): pass

def parts():
    yield b"one,"
    yield b"two"

def texts():
    for n in range(3): yield f"zeile {n} \u00fc\\n"

async def async_parts():
    for n in range(3):
        await asyncio.sleep(0.001)
        yield str(n)

def broken():
    yield b"begun"
    raise Shortage("midway")

def work(): print("worked late")
def bad_work(): raise Shortage("work failed")
async def async_work():
    await asyncio.sleep(0.01)
    print("async work")

def handler(event, context):
    do = event["do"]
    if do == "echo": return event["value"]
    if do == "none": return None
    if do == "raise": raise Shortage("raised on purpose")
    if do == "chain":
        try: raise KeyError("inner")
        except KeyError as error: raise Shortage("outer") from error
    if do == "silent": raise type("Odd", (Exception,), {"__str__": lambda self: 1 / 0})()
    if do == "long": raise Shortage("\\x01" * 100_000)
    if do == "cycle":
        a = {}; a["a"] = a; return a
    if do == "set": return {1, 2}
    if do == "nan": return float("nan")
    if do == "decimal": return {"whole": decimal.Decimal("7"), "part": decimal.Decimal("0.5")}
    if do == "surrogate": return "\\ud800"
    if do == "bytes": return bytes([0, 255, 1, 254])
    if do == "bytearray": return bytearray(b"abc")
    if do == "empty": return b""
    if do == "parts": return parts()
    if do == "texts": return texts()
    if do == "asyncParts": return async_parts()
    if do == "noParts": return iter(())
    if do == "broken": return broken()
    if do == "many": return (b"z" * 10_000 for _ in range(300))
    if do == "large": return "x" * event["bytes"]
    if do == "largeBytes": return b"x" * event["bytes"]
    if do == "length": return len(event["pad"])
    if do == "exit": sys.exit(3)
    if do == "hardExit": os._exit(4)
    if do == "hang": time.sleep(1000)
    if do == "context": return {name: getattr(context, name) for name in ("aws_request_id", "function_name", "function_version", "memory_limit_in_mb", "invoked_function_arn", "log_group_name", "log_stream_name")} | {"remaining": context.get_remaining_time_in_millis()}
    if do == "log":
        print("one\\ntwo", 2)
        print("oops", file=sys.stderr)
        sys.stdout.write("half")
        return "ok"
    if do == "logging":
        logging.getLogger("app").info("counted %d", 3)
        return "ok"
    if do == "logLarge":
        print("\u00e9" * 100_000)
        sys.stdout.buffer.write(b"raw"); return "ok"
    if do == "waitUntil":
        context.wait_until(work)
        context.wait_until(bad_work)
        context.wait_until(async_work())
        thread = threading.Thread(target=lambda: (time.sleep(0.02), print("thread work")))
        thread.start()
        context.wait_until(thread)
        return "early"
    if do == "lateLog":
        threading.Timer(0.02, lambda: print("too late")).start()
        return "early"

async def later(event, context):
    await asyncio.sleep(0.001)
    if event.get("fail"): raise Shortage("from async")
    return {"loop": id(asyncio.get_running_loop())}

def raw(event, context):
    return {"type": type(event).__name__, "length": len(event)}
`

describe('Python runtime: handlers', { skip }, () => {
  let subject: Subject
  before(async () => {
    subject = await start({ 'main.py': ways })
  })
  const failing = (event: unknown) => failureOf(subject, event)

  test('results: JSON without a head, None is null, Decimal a number', async () => {
    assert.deepEqual(await subject.json({ do: 'echo', value: { a: [1, '\u00fc', null] } }), { a: [1, '\u00fc', null] })
    const answer = await subject.call({ do: 'none' })
    assert.equal(answer.body.toString(), 'null')
    assert.equal(answer.head, null)
    assert.deepEqual(await subject.json({ do: 'decimal' }), { whole: 7, part: 0.5 })
    assert.equal((await subject.call({ do: 'surrogate' })).body.toString(), '"\\ud800"')
  })

  test('exceptions: class, message, formatted lines of the user code', async () => {
    const raised = await failing({ do: 'raise' })
    assert.equal(raised.errorType, 'Shortage')
    assert.equal(raised.errorMessage, 'raised on purpose')
    assert.equal(raised.stackTrace.length, 1)
    assert.match(
      raised.stackTrace[0] ?? '',
      /^ {2}File ".*main\.py", line \d+, in handler\n {4}if do == "raise": raise Shortage/,
    )
    assert.equal((await failing({ do: 'chain' })).errorMessage, 'outer')
    assert.equal((await failing({ do: 'silent' })).errorType, 'Exception')
    assert.equal((await failing({ do: 'long' })).errorType, 'Shortage')
  })

  test('results that are no JSON: Runtime.MarshalError', async () => {
    for (const way of ['cycle', 'set', 'nan']) {
      const error = await failing({ do: way })
      assert.equal(error.errorType, 'Runtime.MarshalError', way)
      assert.match(error.errorMessage, /^Unable to marshal response: /)
    }
  })

  test('bytes go out raw; generators stream, text as text', async () => {
    const octets = [['content-type', 'application/octet-stream']]
    const text = [['content-type', 'text/plain; charset=utf-8']]
    for (const [way, body, headers] of [
      ['bytes', Buffer.from([0, 255, 1, 254]), octets],
      ['bytearray', Buffer.from('abc'), octets],
      ['empty', Buffer.alloc(0), octets],
      ['parts', Buffer.from('one,two'), octets],
      ['texts', Buffer.from('zeile 0 \u00fc\nzeile 1 \u00fc\nzeile 2 \u00fc\n'), text],
      ['asyncParts', Buffer.from('012'), text],
      ['noParts', Buffer.alloc(0), octets],
    ] as const) {
      const answer = await subject.call({ do: way })
      assert.deepEqual(answer.body, body, way)
      assert.deepEqual(answer.head, { status: 200, headers }, way)
    }
    assert.equal((await subject.call({ do: 'many' })).body.length, 3_000_000)
    assert.equal((await failing({ do: 'broken' })).errorMessage, 'midway')
  })

  test('an empty payload is {}, a wrong one Runtime.UnmarshalError', async () => {
    assert.equal((await subject.call(Buffer.alloc(0))).error?.errorType, 'KeyError')
    assert.equal((await subject.call(Buffer.from('{"do":'))).error?.errorType, 'Runtime.UnmarshalError')
    assert.equal((await subject.call(Buffer.from([0xff, 0xfe, 0xfd]))).error?.errorType, 'Runtime.UnmarshalError')
  })

  test('6 MB in and out, through a slow reader', async () => {
    const bytes = 6 * 1024 * 1024
    assert.equal(await subject.json({ do: 'length', pad: 'x'.repeat(bytes - 100) }), bytes - 100)
    for (const [way, size] of [
      ['large', bytes - 2],
      ['largeBytes', bytes],
    ] as const) {
      assert.equal(await readSlowly(subject, { do: way, bytes: size }), bytes)
    }
  })

  test('context: Lambda fields and remaining time', async () => {
    const { remaining, ...rest } = await subject.json<Record<string, unknown>>({ do: 'context' })
    assert.ok(Number(remaining) > 29_000 && Number(remaining) <= 30_000)
    assert.deepEqual(rest, {
      aws_request_id: '0190-id',
      function_name: 'subject',
      function_version: '3',
      memory_limit_in_mb: '256',
      invoked_function_arn: 'arn:aws:lambda:local:000000000000:function:subject',
      log_group_name: '/hearth/default/subject',
      log_stream_name: 'i-1',
    })
  })

  test('output: whole lines at once, the rest before the answer; after it on stream 0', async () => {
    const before = subject.logs.length
    await subject.call({ do: 'log' })
    const pieces = subject.logs.slice(before)
    const text = (fd: number): string =>
      pieces
        .filter((piece) => piece.fd === fd)
        .map((piece) => piece.text)
        .join('')
    assert.equal(text(1), 'one\ntwo 2\nhalf')
    assert.equal(text(2), 'oops\n')
    assert.ok(pieces.every(({ stream }) => stream > 0))
    await subject.call({ do: 'lateLog' })
    await delay(80)
    assert.deepEqual(subject.logs.at(-1), { stream: 0, fd: 1, text: 'too late\n' })
  })

  test('logging goes out with level and invocation id, also below WARNING', async () => {
    const before = subject.logs.length
    await subject.call({ do: 'logging' })
    assert.match(subject.logs.slice(before)[0]?.text ?? '', /^\[INFO\]\t\d{4}-[\d:T.-]+Z\t0190-id\tcounted 3\n$/)
  })

  test('output of more than a frame is split between characters', async () => {
    const before = subject.logs.length
    await subject.call({ do: 'logLarge' })
    const pieces = subject.logs.slice(before)
    assert.equal(pieces.map((piece) => piece.text).join(''), `${'\u00e9'.repeat(100_000)}\nraw`)
  })

  test('wait_until: the answer first, then callables, coroutines and threads, IDLE at the end', async () => {
    const before = subject.logs.length
    const answer = await subject.call({ do: 'waitUntil' })
    assert.equal(answer.body.toString(), '"early"')
    assert.equal(answer.openWork, true)
    await answer.idle
    const text = subject.logs
      .slice(before)
      .map((piece) => piece.text)
      .join('')
    assert.match(text, /worked late\n/)
    assert.match(text, /Work handed to wait_until failed:\n[^]*Shortage: work failed/)
    assert.match(text, /async work\n/)
    assert.match(text, /thread work\n/)
  })

  test('1,000 calls one after the other, each its own answer', async () => {
    for (let n = 0; n < 1_000; n++) assert.equal(await subject.json({ do: 'echo', value: n }), n)
  })

  test('calls that come together are run in order, also when one must wait for credit', async () => {
    const results = await Promise.all([
      subject.json<string>({ do: 'large', bytes: 1_000_000 }),
      ...[1, 2, 3].map((value) => subject.json({ do: 'echo', value })),
    ])
    assert.deepEqual([results[0].length, ...results.slice(1)], [1_000_000, 1, 2, 3])
  })

  test('CANCEL while the result waits for credit ends it', async () => {
    const answer = await subject.call(
      { do: 'largeBytes', bytes: 1_000_000 },
      {
        onData: () => new Promise(() => {}),
        started: (stream) => void delay(50).then(() => stream.cancel('caller left')),
      },
    )
    assert.equal(answer.error, null)
    assert.equal(answer.body.length, 262_144)
    assert.equal(await subject.json({ do: 'echo', value: 'next' }), 'next')
  })

  test('async handlers share one event loop', async () => {
    const later = await start({ 'main.py': ways }, 'main.later')
    assert.deepEqual(await later.json({}), await later.json({}))
    assert.equal((await later.call({ fail: true })).error?.errorType, 'Shortage')
  })

  test('other content types arrive as bytes', async () => {
    const raw = await start({ 'main.py': ways }, 'main.raw')
    assert.deepEqual(await raw.json(Buffer.from([1, 2, 3]), { contentType: 'image/png' }), { type: 'bytes', length: 3 })
  })
})

describe('Python runtime: the end', { skip }, () => {
  for (const [way, code] of [
    ['exit', 3],
    ['hardExit', 4],
  ] as const)
    test(`${way} in a handler is an exit`, async () => {
      const subject = await start({ 'main.py': ways })
      await assert.rejects(subject.call({ do: way }))
      assert.equal(await subject.exited, code)
    })

  test('PING is answered between invocations', async () => {
    const subject = await start({ 'main.py': ways })
    await subject.link.ping()
  })

  test('SHUTDOWN ends with 0, after a SIGTERM handler', async () => {
    const plain = await start({ 'main.py': ways })
    plain.link.shutdown(1_000)
    assert.equal(await plain.exited, 0)
    const code = `import signal
signal.signal(signal.SIGTERM, lambda *_: print("bye"))
def handler(event, context): return 1`
    const listening = await start({ 'main.py': code })
    listening.link.shutdown(1_000)
    assert.equal(await listening.exited, 0)
    assert.equal(listening.logged(0), 'bye\n')
  })

  test('the end of the channel ends the process, threads or not', async () => {
    const code = `import threading, time
threading.Thread(target=lambda: time.sleep(100)).start()
def handler(event, context): return 1`
    const subject = await start({ 'main.py': code })
    subject.link.close()
    assert.equal(await subject.exited, 0)
  })
})
