import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { UsagePeaks } from '../../src/domain/agent.ts'
import type { FakeMeta, Ran } from '../support/agent-rig.ts'
import { settle, versionOf } from '../support/agent-rig.ts'
import { oom, type OpenRig, rigsOf } from './agent-contract-rig.ts'

/* What every Agent must say of what an invocation used. */

const mib = 2 ** 20
const heldMib = 8

interface Event {
  readonly peakMib?: number
  readonly ephemeralMib?: number
  readonly ms?: number
}

/** Holds `peakMib` for `ms`, and then as much as before; what is written to /tmp stays. */
async function user(event: unknown, meta: FakeMeta): Promise<void> {
  const { peakMib = heldMib, ephemeralMib, ms = 0 } = event as Event
  meta.hold({ memory: peakMib * mib, ...(ephemeralMib !== undefined && { ephemeral: ephemeralMib * mib }) })
  if (ms > 0) await meta.sleep(ms)
  meta.hold({ memory: heldMib * mib })
}

export function agentUsageContract(name: string, openRig: OpenRig): void {
  describe(`agent contract, usage: ${name}`, () => {
    const open = rigsOf(openRig)

    /** What the receipt of `running` is made of, once all is told. */
    const used = async (
      rig: ReturnType<OpenRig>,
      event: Event,
      request = {},
    ): Promise<UsagePeaks & Pick<Ran, 'result'>> => {
      const running = rig.begin(versionOf({ freezeAfterMs: 60_000 }), event, request)
      await rig.advance(event.ms ?? 0)
      const { result } = await running.done
      await settle()
      const last = running.frames.at(-1)
      assert.ok(last?.type === 'usage' || last?.type === 'result')
      const { memoryPeakMib, ephemeralBytesPeak } = last.type === 'usage' ? last : last.result
      return { memoryPeakMib, ephemeralBytesPeak, result }
    }

    test('an invocation that uses much says so, and the next one does not', async () => {
      const rig = open({ handler: user })
      assert.equal((await used(rig, {})).memoryPeakMib, heldMib)
      assert.equal((await used(rig, { peakMib: 150, ms: 50 })).memoryPeakMib, 150)
      assert.equal((await used(rig, {})).memoryPeakMib, heldMib)
      const reports = (await rig.agent.logs.tail('default', 'fn', 100)).flatMap(
        ({ text }) => /Max Memory Used: (\d+) MB/.exec(text)?.[1] ?? [],
      )
      assert.deepEqual(reports, ['8', '150', '8'])
    })

    test('the first of an Instance, however short, is measured: what loading took counts', async () => {
      const rig = open({ handler: user })
      assert.equal((await used(rig, { peakMib: 90 })).memoryPeakMib, 90)
    })

    test('the first of an Instance that was started for another one is measured, too', async () => {
      const rig = open({ handler: user })
      await used(rig, {})
      rig.driver.faults.loadMs = 100
      const busy = rig.begin(versionOf({ freezeAfterMs: 60_000 }), { ms: 50 })
      const waiting = rig.begin(versionOf({ freezeAfterMs: 60_000 }), {})
      await rig.advance(50)
      await Promise.all([busy.done, waiting.done])
      await rig.advance(200)
      assert.equal(rig.driver.alive.size, 2)
      const both = [used(rig, { ms: 5 }), used(rig, { ms: 5 })]
      for (const { memoryPeakMib, result } of await Promise.all(both)) {
        assert.equal(result.start, 'warm')
        assert.equal(memoryPeakMib, heldMib)
      }
    })

    test('/tmp: what is there at the end', async () => {
      const rig = open({ handler: user })
      assert.equal((await used(rig, {})).ephemeralBytesPeak, 0)
      assert.equal((await used(rig, { ephemeralMib: 50, ms: 50 })).ephemeralBytesPeak, 50 * mib)
    })

    test('a short warm one is not measured, and its result comes last', async () => {
      const rig = open({ handler: user })
      await used(rig, {})
      const [sandbox] = rig.driver.alive.values()
      const before = sandbox?.calls.length
      for (let n = 0; n < 3; n++) assert.equal((await used(rig, {})).memoryPeakMib, heldMib)
      assert.equal(sandbox?.calls.length, before)
    })

    test('wantLogTail: the tail says it, and nothing follows', async () => {
      const rig = open({ handler: user })
      await used(rig, {})
      const { result } = await used(rig, { peakMib: 150, ms: 50 }, { wantLogTail: true })
      assert.match(result.logTail ?? '', /Max Memory Used: 150 MB/)
      assert.equal(result.memoryPeakMib, 150)
    })

    test('a long one is sampled: what it used before it crashed is known', async () => {
      const rig = open({
        handler: async (_event, meta) => {
          meta.hold({ memory: 150 * mib })
          await meta.sleep(600)
          meta.exit({ code: 1, signal: null, oom: false })
          await new Promise(() => {})
        },
      })
      const running = rig.begin(versionOf())
      for (let n = 0; n < 10; n++) await rig.advance(100)
      assert.equal((await running.done).result.memoryPeakMib, 150)
    })

    test('out of memory: it used all that it may', async () => {
      const rig = open({ faults: { exitOnInvoke: oom } })
      const running = rig.begin(versionOf({ memoryMib: 512 }))
      await rig.advance(200)
      assert.equal((await running.done).result.memoryPeakMib, 512)
    })

    test('timed out: it is measured before its Instance is ended', async () => {
      const rig = open({
        handler: async (_event, meta) => {
          meta.hold({ memory: 150 * mib })
          await new Promise(() => {})
        },
      })
      const running = rig.begin(versionOf({ timeoutMs: 400 }))
      await rig.advance(10)
      const [sandbox] = rig.driver.alive.values()
      await rig.advance(400)
      assert.equal((await running.done).result.outcome, 'timed_out')
      assert.deepEqual(sandbox?.calls.slice(-2), ['stats', 'kill'])
      assert.deepEqual(running.frames.at(-1), { type: 'usage', memoryPeakMib: 150, ephemeralBytesPeak: 0 })
    })

    test('a sandbox that does not say what it used: the usage comes a second later, with what is known', async () => {
      const rig = open({ handler: user })
      await used(rig, {})
      rig.driver.faults.hangOnStats = true
      const running = rig.begin(versionOf({ freezeAfterMs: 60_000 }), { peakMib: 150, ms: 50 })
      await rig.advance(50)
      await running.done
      await rig.advance(999)
      assert.equal(running.frames.at(-1)?.type, 'result')
      await rig.advance(1)
      assert.deepEqual(running.frames.at(-1), { type: 'usage', memoryPeakMib: heldMib, ephemeralBytesPeak: 0 })
    })
  })
}
