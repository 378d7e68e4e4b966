import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { limits } from '../../src/domain/limits.ts'
import { settle, versionOf } from '../support/agent-rig.ts'
import { idOf, type OpenRig, oom, rigsOf, sleeper } from './agent-contract-rig.ts'

/* What every Agent must do, over the fake driver in virtual time. */

export function agentContract(name: string, openRig: OpenRig): void {
  describe(`agent contract: ${name}`, () => {
    const open = rigsOf(openRig)

    test('1,000 one after the other: each answer matches its request', async () => {
      const rig = open()
      const version = versionOf()
      for (let n = 0; n < 1_000; n++)
        assert.deepEqual(JSON.parse((await rig.run(version, { n })).body.toString()), { n })
      assert.equal(rig.driver.boots, 1)
      assert.equal(rig.recorded.length, 1_000)
    })

    test('100 at once: each answer matches its request', async () => {
      const rig = open()
      const version = versionOf({ memoryMib: 128 }, {})
      const all = await Promise.all(Array.from({ length: 100 }, async (_, n) => rig.run(version, { n })))
      for (const [n, { body }] of all.entries()) assert.deepEqual(JSON.parse(body.toString()), { n })
    })

    test('a thrown error is failed and completed, and the Instance goes on', async () => {
      const rig = open({
        handler: () => {
          throw new RangeError('on purpose')
        },
      })
      const version = versionOf()
      const { result } = await rig.run(version)
      assert.deepEqual([result.outcome, result.effect], ['failed', 'completed'])
      assert.deepEqual([result.error?.errorType, result.error?.errorMessage], ['RangeError', 'on purpose'])
      assert.equal((await rig.run(version)).result.start, 'warm')
    })

    test('status and headers come before the data', async () => {
      const rig = open({
        handler: (_event, meta) => {
          meta.head(201, [['x-a', 'b']])
          return Buffer.from('raw')
        },
      })
      const { frames, body } = await rig.run(versionOf())
      assert.deepEqual(frames[1], { type: 'head', status: 201, headers: [['x-a', 'b']] })
      assert.equal(body.toString(), 'raw')
    })

    test('a body of 6 MiB passes both ways, one byte more of result is refused by name', async () => {
      const rig = open({ handler: (event) => event })
      const version = versionOf()
      const exact = Buffer.alloc(limits.payloadBytesMax, 'x')
      const bytes = { contentType: 'application/octet-stream' }
      const fits = await rig.run(version, exact, bytes)
      assert.equal(fits.result.outcome, 'succeeded')
      assert.equal(fits.body.length, limits.payloadBytesMax)
      const { result } = await rig.run(version, Buffer.alloc(limits.payloadBytesMax + 1, 'x'), bytes)
      assert.deepEqual([result.outcome, result.error?.errorType], ['failed', 'Function.ResponseSizeTooLarge'])
      assert.equal((await rig.run(version, exact, bytes)).result.start, 'boot')
    })

    test('timeout: answered at the deadline, the Instance is killed, the next start says crash', async () => {
      const rig = open({ handler: sleeper })
      const version = versionOf({ timeoutMs: 1_000 })
      await rig.run(version)
      const running = rig.begin(version, { ms: 60_000 })
      await rig.advance(999)
      assert.equal(running.frames.length, 1)
      await rig.advance(1)
      const { result } = await running.done
      assert.deepEqual([result.outcome, result.effect], ['timed_out', 'may_have_committed'])
      assert.match(result.error?.errorMessage ?? '', /timed out after 1\.00 seconds/)
      await settle()
      assert.equal(rig.driver.alive.size, 0)
      assert.equal((await rig.run(version)).result.coldCause, 'crash')
    })

    test('deadline: what waits for an Instance expires, never started', async () => {
      const rig = open({ faults: { bootMs: 5_000 } })
      const running = rig.begin(versionOf({ timeoutMs: 1_000 }))
      await rig.advance(1_000)
      const { result } = await running.done
      assert.deepEqual([result.outcome, result.effect], ['expired', 'never_started'])
    })

    test('deadline: a late wall clock does not cut an invocation short', async () => {
      const rig = open({ handler: sleeper })
      const running = rig.begin(versionOf({ timeoutMs: 10_000 }), { ms: 1_000 })
      await settle()
      rig.clock.jumpWall(3_600_000)
      await rig.advance(1_000)
      assert.equal((await running.done).result.outcome, 'succeeded')
    })

    for (const [what, exit, reason] of [
      ['an exit', { code: 3, signal: null, oom: false }, 'exit'],
      ['a signal', { code: null, signal: 'SIGSEGV', oom: false }, 'signal'],
      ['the memory limit', oom, 'oom'],
    ] as const)
      test(`crash by ${what}: crashed with the reason, may have committed`, async () => {
        const rig = open({ faults: { exitOnInvoke: exit } })
        const running = rig.begin(versionOf())
        await rig.advance(200)
        const { result } = await running.done
        assert.deepEqual([result.outcome, result.crashReason, result.effect], ['crashed', reason, 'may_have_committed'])
      })

    test('100 invocations of which some crash: every one has exactly one outcome, and nothing is left over', async () => {
      const rig = open({ handler: sleeper, seed: 7, faults: { crashRate: 0.2 } })
      const version = versionOf({ freezeAfterMs: 50, keepAliveMs: 500 })
      const running = Array.from({ length: 100 }, (_, n) => rig.begin(version, { ms: n % 7 }))
      for (let n = 0; n < 40; n++) await rig.advance(50)
      const outcomes = await Promise.all(running.map(async ({ done }) => (await done).result.outcome))
      assert.deepEqual(
        [...new Set(outcomes)].toSorted((a, b) => a.localeCompare(b)),
        ['crashed', 'succeeded'],
      )
      assert.equal(rig.recorded.length, 100)
      await rig.advance(1_000)
      await rig.advance(1_000)
      assert.equal(rig.driver.alive.size, 0)
    })

    test('crash while idle: the next start says crash', async () => {
      const rig = open({ faults: { crashAfterMs: 50 } })
      const version = versionOf()
      await rig.run(version)
      await rig.advance(50)
      await rig.advance(200)
      assert.equal((await rig.agent.list()).length, 0)
      assert.equal((await rig.run(version)).result.coldCause, 'crash')
    })

    test('a breach of the protocol kills the Instance and crashes the invocation', async () => {
      const rig = open({ faults: { protocolGarbage: true } })
      const { result } = await rig.run(versionOf())
      assert.deepEqual([result.outcome, result.error?.errorType], ['crashed', 'Runtime.ProtocolError'])
      await settle()
      assert.equal(rig.driver.alive.size, 0)
    })

    test('/tmp full: a failure for lack of space is crashed by ephemeral_full', async () => {
      const rig = open({
        faults: { ephemeralFull: true },
        handler: () => {
          throw new Error('ENOSPC: no space left on device, write')
        },
      })
      const { result } = await rig.run(versionOf())
      assert.deepEqual([result.outcome, result.crashReason], ['crashed', 'ephemeral_full'])
      assert.match(result.error?.errorMessage ?? '', /\/tmp is full \(512 MiB\)/)
    })

    test('cancel: a waiter is gone at once, never started', async () => {
      const rig = open({ faults: { bootMs: 1_000 } })
      const running = rig.begin(versionOf())
      running.call.send({ type: 'cancel', reason: 'client left' })
      const { result } = await running.done
      assert.deepEqual([result.outcome, result.effect], ['cancelled', 'never_started'])
    })

    test('cancel: a handler that heeds the signal keeps its Instance', async () => {
      const rig = open({
        handler: async (_event, { signal }) =>
          new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('stopped')))),
      })
      const version = versionOf()
      const running = rig.begin(version)
      await settle()
      assert.equal(await rig.agent.cancel(running.frames.length > 0 ? idOf(1) : '', 'operator'), true)
      const { result } = await running.done
      assert.deepEqual([result.outcome, result.effect], ['cancelled', 'may_have_committed'])
      assert.equal((await rig.agent.list()).length, 1)
    })

    test('cancel: a handler that does not is killed after a short grace', async () => {
      const rig = open({ faults: { hangOnInvoke: true } })
      const running = rig.begin(versionOf())
      await settle()
      running.call.send({ type: 'cancel', reason: 'client left' })
      await rig.advance(200)
      assert.equal((await running.done).result.outcome, 'cancelled')
      assert.equal(rig.driver.alive.size, 0)
    })

    test('cancel: an id that does not run here is false', async () => {
      assert.equal(await open().agent.cancel('unknown', 'why'), false)
    })

    test('owner: an older epoch than the newest seen is refused', async () => {
      const rig = open()
      const version = versionOf()
      await rig.run(version, {}, { ownerEpoch: 5 })
      const { result } = await rig.run(version, {}, { ownerEpoch: 4 })
      assert.deepEqual([result.outcome, result.refused?.code], ['rejected', 'stale_owner'])
    })

    test('get and attach: a running execution is found and its output joined', async () => {
      const rig = open({ handler: sleeper })
      const running = rig.begin(versionOf(), { ms: 100 })
      await settle()
      assert.equal((await rig.agent.get(idOf(1)))?.state, 'running')
      const frames: string[] = []
      const call = await rig.agent.attach(idOf(1), 0, (frame) => void frames.push(frame.type))
      assert.ok(call)
      await rig.advance(100)
      await running.done
      assert.deepEqual(frames, ['started', 'data', 'result', 'usage'])
      assert.equal(await rig.agent.get(idOf(1)), null)
      assert.equal(await rig.agent.attach(idOf(1), 0, () => {}), null)
    })
  })
}
