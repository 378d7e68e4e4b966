import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { call, deployFiles, invoke, type Reply } from '../support/functions.ts'
import { handlers } from '../support/handlers.ts'
import { startPlatform, type Platform } from '../support/platform.ts'

/* What handlers can do, and what their callers must see, in both languages with the same words. */

/** Ten emulated machines on two cores take their time. */
const limitMs = 60_000
/** How far a guest's clock may be from the host's after a resume. */
const clockSkewMsMax = 50

let platform: Platform
before(async () => {
  platform = await startPlatform()
})
after(async () => platform.stop())

for (const language of ['node', 'python'] as const) {
  describe(`handler behaviour: ${language}`, () => {
    const name = `behave-${language}`
    const run = (event: Record<string, unknown>, headers?: Record<string, string>): Promise<Reply> =>
      invoke(platform, name, event, headers)

    before(async () => {
      const { runtime, handler, file, code } = handlers[language]
      await deployFiles(platform, { name, runtime, handler, files: { [file]: code }, config: { timeoutMs: limitMs } })
    })

    test('returns: the result is the body, with every promised header', async () => {
      const reply = await run({ do: 'echo', n: 1 })
      assert.equal(reply.status, 200)
      assert.deepEqual(reply.json(), { do: 'echo', n: 1 })
      assert.match(reply.headers.get('content-type') ?? '', /application\/json/)
      assert.equal(reply.headers.get('hearth-outcome'), 'succeeded')
      assert.equal(reply.headers.get('hearth-effect'), 'completed')
      assert.equal(reply.headers.get('hearth-version'), '1')
      assert.match(reply.headers.get('hearth-start') ?? '', /^(warm|cold;source=(pool|snapshot|boot);cause=[a-z_]+)$/)
      assert.match(reply.headers.get('server-timing') ?? '', /dur=/)
      assert.match(reply.headers.get('hearth-invocation-id') ?? '', /^[0-9a-f-]{36}$/)
    })

    for (const [how, type] of [
      ['throw', 'TypeError'],
      ['reject', language === 'node' ? 'RangeError' : 'ValueError'],
    ] as const)
      test(`${how}s: 200 with the error's type, message and stack`, async () => {
        const reply = await run({ do: how })
        assert.equal(reply.status, 200)
        assert.equal(reply.headers.get('hearth-function-error'), type)
        assert.equal(reply.headers.get('hearth-outcome'), 'failed')
        assert.equal(reply.headers.get('hearth-effect'), 'completed')
        const body = reply.json<{ errorType: string; errorMessage: string; stackTrace: string[] }>()
        assert.equal(body.errorType, type)
        assert.match(body.errorMessage, /on purpose/)
        assert.ok(body.stackTrace.length > 0)
      })

    test('never settles: timed out at its limit', async () => {
      const reply = await run({ do: 'hang' }, { 'hearth-timeout-ms': '700' })
      assert.equal(reply.status, 504)
      assert.equal(reply.headers.get('hearth-outcome'), 'timed_out')
      assert.equal(reply.headers.get('hearth-effect'), 'may_have_committed')
    })

    for (const [how, reason] of [
      ['exit', 'exit'],
      ['killed', 'signal'],
      // All at once, and more than a microVM for this function has.
      ['claim', 'oom'],
    ] as const)
      test(`${how}: crashed, and the receipt says ${reason}`, async () => {
        const reply = await run({ do: how, bytes: 512 << 20 })
        assert.equal(reply.status, 502)
        assert.equal(reply.headers.get('hearth-outcome'), 'crashed')
        const receipt = (
          await call(platform, 'GET', `/v1/invocations/${reply.headers.get('hearth-invocation-id')}`)
        ).json<{ crashReason: string }>()
        assert.equal(receipt.crashReason, reason)
      })

    test('binary result: bytes as they are', async () => {
      const reply = await run({ do: 'binary' })
      assert.deepEqual([...reply.body], [0, 255, 1, 254])
      assert.match(reply.headers.get('content-type') ?? '', /octet-stream/)
    })

    test('a result of exactly 6 MB passes, one byte more is refused by name', async () => {
      const limit = 6 * 1024 * 1024
      const fits = await run({ do: 'large', bytes: limit - 2 })
      assert.equal(fits.status, 200)
      assert.equal(fits.body.length, limit)
      const tooLarge = await run({ do: 'large', bytes: limit - 1 })
      assert.equal(tooLarge.status, 502)
      assert.match(tooLarge.body.toString(), /Function\.ResponseSizeTooLarge/)
    })

    test('a cycle: failed, not a crash', async () => {
      const reply = await run({ do: 'cycle' })
      assert.equal(reply.status, 200)
      assert.equal(reply.headers.get('hearth-outcome'), 'failed')
    })

    test('children left behind do not hold up the answer', async () => {
      const reply = await run({ do: 'children' })
      assert.equal(reply.body.toString(), '"spawned"')
    })

    test('a program that asks who and where it is finds its user, and its host by name', async () => {
      assert.deepEqual((await run({ do: 'self' })).json(), { user: 'function', address: '127.0.0.1' })
    })

    test('context: id, name, version, memory and remaining time', async () => {
      const reply = await run({ do: 'context' })
      const context = reply.json<{ id: string; name: string; version: string; memory: number; remaining: number }>()
      assert.equal(context.id, reply.headers.get('hearth-invocation-id'))
      assert.equal(context.name, name)
      assert.equal(context.memory, 256)
      // A guest's clock may be behind by what a resume allows.
      assert.ok(context.remaining > 0 && context.remaining <= limitMs + clockSkewMsMax, `${context.remaining} ms`)
    })

    test('1,000 calls one after the other: each answer matches its request', async () => {
      for (let n = 0; n < 1000; n++) assert.equal((await run({ do: 'echo', n })).json<{ n: number }>().n, n)
    })

    test('100 calls at once: each answer matches its request', async () => {
      const replies = await Promise.all(Array.from({ length: 100 }, async (_, n) => run({ do: 'echo', n })))
      for (const [n, reply] of replies.entries())
        assert.equal(reply.json<{ n: number }>().n, n, `${reply.status} ${reply.body.toString()}`)
    })

    test('a request of 6 MB passes, a larger one is 413', async () => {
      const limit = 6 * 1024 * 1024
      const wrap = Buffer.byteLength(JSON.stringify({ do: 'echo', pad: '' }))
      assert.equal((await run({ do: 'echo', pad: 'x'.repeat(limit - wrap) })).status, 200)
      assert.equal((await run({ do: 'echo', pad: 'x'.repeat(limit - wrap + 1) })).status, 413)
    })
  })
}
