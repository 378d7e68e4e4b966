import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { settle, versionOf } from '../support/agent-rig.ts'
import { oom, type OpenRig, rigsOf, sleeper } from './agent-contract-rig.ts'

/* How every Agent must share an Instance among invocations that it may serve at a time, over the fake driver in virtual time. */

export function agentSeatsContract(name: string, openRig: OpenRig): void {
  describe(`agent contract, instanceConcurrency: ${name}`, () => {
    const open = rigsOf(openRig)
    const shared = (instanceConcurrency: number): ReturnType<typeof versionOf> =>
      versionOf({ contract: 'http', instanceConcurrency, timeoutMs: 5_000 })
    const instanceOf = ({ body }: { body: Buffer }): string =>
      (JSON.parse(body.toString()) as { instance: string }).instance

    test('one Instance takes as many as it has seats, and others start for the rest', async () => {
      const rig = open({ handler: sleeper })
      const version = shared(3)
      const running = Array.from({ length: 7 }, () => rig.begin(version, { ms: 100 }))
      await rig.advance(50)
      assert.equal(rig.driver.alive.size, 3)
      await rig.advance(100)
      const counts = Map.groupBy(await Promise.all(running.map(async ({ done }) => done)), instanceOf)
      assert.deepEqual(
        [...counts.values()].map((ran) => ran.length).sort((a, b) => a - b),
        [1, 3, 3],
      )
      assert.equal((await rig.agent.status()).instances.ready, 3)
    })

    test('what comes later goes where there is room, not to one that rests', async () => {
      const rig = open({ handler: sleeper })
      const version = shared(2)
      const first = [1, 2, 3].map(() => rig.begin(version, { ms: 100 }))
      await rig.advance(110)
      await Promise.all(first.map(async ({ done }) => done))
      const long = rig.begin(version, { ms: 300 })
      await settle()
      const short = rig.begin(version, { ms: 10 })
      await rig.advance(20)
      await rig.advance(300)
      assert.equal(instanceOf(await short.done), instanceOf(await long.done))
    })

    test('one that times out or is cancelled leaves the Instance to the others', async () => {
      const rig = open({ handler: sleeper })
      const version = shared(3)
      const others = rig.begin(version, { ms: 4_000 })
      await rig.advance(2_000)
      const deadline = rig.clock.nowMs() + 500
      const late = rig.begin(version, { ms: 60_000 }, { deadline })
      const unwanted = rig.begin(version, { ms: 60_000 })
      await rig.advance(100)
      unwanted.call.send({ type: 'cancel', reason: 'the client left' })
      await rig.advance(500)
      assert.equal((await late.done).result.outcome, 'timed_out')
      assert.equal((await unwanted.done).result.outcome, 'cancelled')
      await rig.advance(2_000)
      assert.equal((await others.done).result.outcome, 'succeeded')
      assert.equal(rig.driver.alive.size, 1)
    })

    test('one that answers nobody any more gets nothing new, and goes with the last that waits for it', async () => {
      const rig = open({
        handler: async (event, meta) => {
          if ((event as { hang?: boolean }).hang === true) return new Promise(() => {})
          return sleeper(event, meta)
        },
      })
      const version = shared(8)
      const healthy = instanceOf(await rig.run(version))
      const hung = [0, 1_000, 2_000].map(() => rig.begin(version, { hang: true }))
      await rig.advance(2_500)
      // Comes while the others still wait, so that the Instance is never alone with one.
      const later = rig.begin(version, { hang: true })
      await rig.advance(2_600)
      for (const { done } of hung) assert.equal((await done).result.outcome, 'timed_out')
      assert.notEqual(instanceOf(await rig.run(version)), healthy)
      await rig.advance(2_600)
      assert.equal((await later.done).result.outcome, 'timed_out')
      assert.equal(rig.driver.alive.size, 1)
    })

    test('the end of an Instance is the end of all that it runs', async () => {
      const rig = open({
        handler: async (event, meta) => {
          await sleeper(event, meta)
          meta.exit(oom)
          return null
        },
      })
      const running = [100, 1_000, 1_000].map((ms) => rig.begin(shared(4), { ms }))
      await rig.advance(150)
      await rig.advance(2_000)
      for (const { done } of running) assert.equal((await done).result.crashReason, 'oom')
      const { freeMib, memoryMib } = await rig.agent.status()
      assert.equal(freeMib, memoryMib)
    })

    test('evicted while it serves: no further invocation, and it goes after the last', async () => {
      const rig = open({ handler: sleeper })
      const version = shared(4)
      const running = [1, 2].map((n) => rig.begin(version, { ms: n * 100 }))
      await rig.advance(10)
      await rig.agent.evict({ project: version.project, functionName: version.functionName })
      const next = rig.begin(version, { ms: 1 })
      await rig.advance(20)
      const old = new Set(await Promise.all([next.done]).then((ran) => ran.map(instanceOf)))
      await rig.advance(200)
      for (const { done } of running) assert.equal(old.has(instanceOf(await done)), false)
      assert.equal(rig.driver.alive.size, 1)
    })
  })
}
