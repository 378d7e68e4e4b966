import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { python, pythonHarness, pythonMissing as skip, pythonShim } from '../support/runtimes.ts'
import { codeFolder } from '../support/subject.ts'

/* The bundle of the Python shim, and what is loaded when. */

const name = `test-${process.pid}`
const target = path.join(pythonShim, '.bundle', name)
const { spawn, start } = pythonHarness(name)

const loaded = `import sys
def handler(event, context):
    if event.get("fail"):
        raise KeyError("gone")
    return [name in sys.modules for name in ("json", "re", "hearth_runtime")] + [len(sys.argv)]`

describe('Python runtime: the bundle', { skip }, () => {
  before(() => {
    execFileSync(python, ['-I', '-S', path.join(pythonShim, 'bundle.py'), name], { stdio: 'inherit' })
  })
  after(() => rmSync(target, { force: true }))

  test('a start that is waited for loads no more than it needs', async () => {
    const subject = await start({ 'main.py': loaded })
    assert.deepEqual(await subject.json(), [false, false, true, 1])
  })

  test('PING before BIND loads what most handlers import', async () => {
    const subject = spawn()
    await subject.hello
    await subject.link.ping()
    await subject.bind(codeFolder({ 'main.py': loaded }), 'main.handler')
    assert.deepEqual(await subject.json(), [true, true, true, 1])
  })

  test('its own lines are in no traceback, but in LAMBDA_RUNTIME_DIR they are found', async () => {
    const subject = await start({ 'main.py': loaded })
    const { error } = await subject.call({ fail: true })
    assert.equal(error?.errorType, 'KeyError')
    assert.equal(error?.stackTrace.length, 1)
    assert.match(error?.stackTrace[0] ?? '', /main\.py", line 4, in handler/)
    const where = await start({ 'main.py': 'import os\ndef handler(e, c): return os.environ["LAMBDA_RUNTIME_DIR"]' })
    assert.equal(await where.json(), pythonShim)
  })

  test('a damaged one costs only time', async () => {
    const whole = readFileSync(target)
    writeFileSync(target, whole.subarray(0, 100))
    try {
      const subject = await start({ 'main.py': 'def handler(e, c): return 1' })
      assert.equal(await subject.json(), 1)
    } finally {
      writeFileSync(target, whole)
    }
  })
})

describe('Python runtime: JSON', { skip }, () => {
  const check = String.raw`import json, math, sys
sys.path.insert(0, ${JSON.stringify(pythonShim)})
import hearth_json
def outcome(call, *args):
    try:
        return repr(call(*args))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
texts = ['{"a": [1, -2.5e3, "\\u00e9\\ud83d\\ude00", null, true, false, {}]}', ' \n[1]\t\n', '"x"', '1', '', ' ', '{', '[1,]', '{"a":1} x', 'NaN',
    '[Infinity, -Infinity]', '\ufeff{}', '{"a":1,"a":2}', '"\t"', '9' * 400, '[' * 20, "{'a': 1}", 'nul']
payloads = [text.encode() for text in texts] + ['{"a": "\u00e9"}'.encode("utf-16"), b"\xff", b'"\xed\xa0\x80"', "[1]".encode("utf-8-sig")]
for payload in payloads:
    ours, theirs = outcome(hearth_json.loads, payload), outcome(json.loads, payload)
    assert ours == theirs, (payload, ours, theirs)
loop = []
loop.append(loop)
values = [{"a": [1, 2.5, "\u00e9\n\"", None, True, {}, (), 10**30]}, "text \u00e9", 1, 1.5, None, [], {1: 2, None: 3, True: 4}, float("nan"),
    [math.inf], loop, object(), {"a": {1, 2}}, {(1, 2): 3}, "\ud800", b"x"]
for value in values:
    for ascii in (True, False):
        ours = outcome(hearth_json.dumps, value, None, ascii)
        theirs = outcome(lambda v: json.dumps(v, ensure_ascii=ascii, allow_nan=False, separators=(",", ":")), value)
        assert ours == theirs, (value, ours, theirs)
print(len(payloads) + len(values))`
  test('reads and writes, and fails, as the package json does', () => {
    assert.equal(execFileSync(python, ['-I', '-S', '-'], { encoding: 'utf8', input: check }), '37\n')
  })
})
