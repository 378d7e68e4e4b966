import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { HostLink } from '../../src/wire/link.ts'
import { settle, versionOf } from '../support/agent-rig.ts'
import { type OpenRig, rigsOf, sleeper } from './agent-contract-rig.ts'

/* How every Agent must let Instances go that are not wanted any more: replaced, deleted, asked to end; over the fake driver in virtual time. */

export function agentEndsContract(name: string, openRig: OpenRig): void {
  describe(`agent contract, ends: ${name}`, () => {
    const open = rigsOf(openRig)

    test('a function made anew under its old name does not meet its old Instances', async () => {
      const rig = open({ handler: sleeper })
      const old = await rig.run(versionOf())
      const renewed = await rig.run(versionOf({}, { createdAt: 2, codeDigest: `sha256:${'e'.repeat(64)}` }))
      assert.notDeepEqual(renewed.body, old.body)
    })

    test('a function made anew while its old Instance runs: that one ends after it, and nothing of it is held', async () => {
      const rig = open({ handler: sleeper })
      const free = (await rig.agent.status()).freeMib
      const old = rig.begin(versionOf(), { ms: 100 })
      await settle()
      const version = versionOf({ keepAliveMs: 200 }, { createdAt: 2, codeDigest: `sha256:${'e'.repeat(64)}` })
      await rig.run(version)
      assert.equal((await rig.agent.list()).filter(({ version }) => version !== null).length, 2)
      await rig.advance(100)
      assert.equal((await old.done).result.outcome, 'succeeded')
      await settle()
      assert.equal((await rig.agent.list()).filter(({ version }) => version !== null).length, 1)
      await rig.advance(200)
      await settle()
      assert.equal(rig.driver.alive.size, 0)
      assert.equal((await rig.agent.status()).freeMib, free)
    })

    test('remove: what runs comes to its end, what waits or comes late is refused, nothing rests', async () => {
      const rig = open({ handler: sleeper })
      const version = versionOf({ memoryMib: 256 })
      const running = rig.begin(version, { ms: 100 })
      await settle()
      const waiting = rig.begin(version, { ms: 1 })
      await rig.agent.remove({ project: 'default', functionName: 'fn' })
      assert.equal((await waiting.done).result.refused?.code, 'gone')
      const late = rig.begin(version, { ms: 1 })
      assert.equal((await late.done).result.refused?.code, 'gone')
      await settle()
      assert.equal(rig.driver.alive.size, 1)
      await rig.advance(100)
      assert.equal((await running.done).result.outcome, 'succeeded')
      await settle()
      assert.equal(rig.driver.alive.size, 0)
    })

    test('goodbye: one that was busy when it was evicted is asked to end after what it ran', async () => {
      const rig = open({ handler: sleeper, faults: { hangOnShutdown: true } })
      const busy = rig.begin(versionOf(), { ms: 100 })
      await settle()
      await rig.agent.evict({ project: 'default' })
      await rig.advance(100)
      assert.equal((await busy.done).result.outcome, 'succeeded')
      await settle()
      assert.equal(rig.driver.alive.size, 1)
      await rig.advance(2_000)
      await settle()
      assert.equal(rig.driver.alive.size, 0)
    })

    test('goodbye: one that is evicted while it shows that it is alive is asked to end once', async (t) => {
      const shutdown = t.mock.method(HostLink.prototype, 'shutdown')
      const fails = (): never => {
        throw new Error('on purpose')
      }
      const rig = open({ handler: fails, faults: { hangOnShutdown: true } })
      assert.equal((await rig.run(versionOf())).result.outcome, 'failed')
      await rig.agent.evict({ project: 'default' })
      await settle()
      assert.equal(shutdown.mock.callCount(), 1)
    })

    test('goodbye: no time for it where another function needs the memory', async () => {
      const rig = open({ faults: { hangOnShutdown: true } }, { memoryMib: 256 })
      await rig.run(versionOf({ memoryMib: 256 }))
      await rig.agent.evict({ project: 'default' })
      await settle()
      assert.equal(rig.driver.alive.size, 1)
      const other = versionOf({ memoryMib: 256 }, { functionName: 'other' })
      assert.equal((await rig.run(other)).result.outcome, 'succeeded')
      await settle()
      assert.equal(rig.driver.alive.size, 1)
    })

    test('goodbye: an idle Instance is asked to end, counts until it has, and is killed when it does not', async () => {
      const rig = open({ faults: { hangOnShutdown: true } })
      const version = versionOf({ keepAliveMs: 200, memoryMib: 256 })
      const free = (await rig.agent.status()).freeMib
      await rig.run(version)
      await rig.advance(200)
      await settle()
      assert.equal(rig.driver.alive.size, 1)
      // As much as it held when it was frozen: many that leave at once cannot overcommit the node.
      assert.equal((await rig.agent.status()).freeMib, free - 40)
      await rig.advance(2_000)
      await settle()
      assert.equal(rig.driver.alive.size, 0)
      assert.equal((await rig.agent.status()).freeMib, free)
    })
  })
}
