import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { AgentEvent } from '../../src/domain/agent.ts'
import type { Digest } from '../../src/domain/artifact.ts'
import { foldersAsArtifacts, settle, versionOf } from '../support/agent-rig.ts'
import { type OpenRig, rigsOf, sleeper } from './agent-contract-rig.ts'

/* How every Agent must let Instances rest, count and go, over the fake driver in virtual time. */

export function agentLifeContract(name: string, openRig: OpenRig): void {
  describe(`agent contract, life of an Instance: ${name}`, () => {
    const open = rigsOf(openRig)

    test('freeze: idle Instances are paused after freezeAfterMs and resumed by an invocation', async () => {
      const rig = open()
      const version = versionOf({ freezeAfterMs: 100 })
      await rig.run(version)
      await rig.advance(99)
      assert.equal((await rig.agent.status()).instances.frozen, 0)
      await rig.advance(1)
      assert.equal((await rig.agent.status()).instances.frozen, 1)
      assert.equal((await rig.run(version)).result.start, 'warm')
      const [sandbox] = rig.driver.alive.values()
      assert.deepEqual(
        sandbox?.calls.filter((call) => call === 'pause' || call === 'resume'),
        ['pause', 'resume'],
      )
    })

    test('freeze: the late failure of one that was overtaken does not touch the next', async () => {
      const rig = open({ faults: { pauseMs: 150 } })
      const version = versionOf({ freezeAfterMs: 100 })
      await rig.run(version)
      await rig.advance(110)
      await rig.run(version)
      await rig.advance(100)
      const [sandbox] = rig.driver.alive.values()
      const asked = (): readonly string[] => sandbox?.calls.filter((call) => /pause|resume/.test(call)) ?? []
      assert.deepEqual(asked(), ['pause', 'resume', 'pause'])
      // Now the first one is said to have failed.
      await rig.advance(50)
      assert.equal((await rig.agent.status()).instances.frozen, 1)
      assert.equal((await rig.run(version)).result.outcome, 'succeeded')
      assert.deepEqual(asked(), ['pause', 'resume', 'pause', 'resume'])
    })

    test('freeze: one that fails leaves the Instance ready, with all of its memory counted', async () => {
      const rig = open({ faults: { failPause: true, memoryBytes: 32 * 2 ** 20 } }, { memoryMib: 512 })
      const version = versionOf({ memoryMib: 512, freezeAfterMs: 10 })
      await rig.run(version)
      await rig.advance(10)
      assert.equal((await rig.agent.status()).instances.ready, 1)
      assert.equal((await rig.agent.status()).freeMib, 0)
      assert.equal((await rig.run(version)).result.outcome, 'succeeded')
    })

    test('freeze: never while invocations keep coming', async () => {
      const rig = open()
      const version = versionOf({ freezeAfterMs: 100 })
      for (let n = 0; n < 10; n++) {
        await rig.run(version)
        await rig.advance(60)
      }
      assert.equal([...rig.driver.alive.values()][0]?.calls.includes('pause'), false)
    })

    test('freeze: never while waitUntil work is open, and the Instance may serve meanwhile', async () => {
      const rig = open({
        handler: (event, meta) => {
          if ((event as { work?: boolean }).work === true) meta.waitUntil(meta.sleep(600))
          return meta.instanceId
        },
      })
      const version = versionOf({ freezeAfterMs: 50 })
      const first = await rig.run(version, { work: true })
      await rig.advance(300)
      assert.equal((await rig.agent.status()).instances.frozen, 0)
      const second = await rig.run(version)
      assert.deepEqual([second.result.start, second.body.toString()], ['warm', first.body.toString()])
      await rig.advance(300)
      await rig.advance(60)
      assert.equal((await rig.agent.status()).instances.frozen, 1)
    })

    test('keep-alive: an idle Instance is reaped, the next start says idle', async () => {
      const rig = open()
      const version = versionOf({ keepAliveMs: 300 })
      await rig.run(version)
      await rig.advance(300)
      assert.equal(rig.driver.alive.size, 0)
      assert.equal((await rig.run(version)).result.coldCause, 'idle')
    })

    test('reuse never: each invocation has its own Instance, gone after', async () => {
      const rig = open({ handler: sleeper })
      const version = versionOf({ reuse: 'never' })
      const first = await rig.run(version)
      const second = await rig.run(version)
      assert.notDeepEqual(first.body, second.body)
      assert.deepEqual([first.result.coldCause, second.result.coldCause], ['first', 'reuse_never'])
      await settle()
      assert.equal(rig.driver.alive.size, 0)
    })

    test('evict: idle Instances go now, busy ones after their invocation, the next start says evicted', async () => {
      const rig = open({ handler: sleeper })
      const version = versionOf()
      const busy = rig.begin(version, { ms: 100 })
      await settle()
      assert.equal(await rig.agent.evict({ project: 'default', functionName: 'fn' }), 1)
      assert.equal(rig.driver.alive.size, 1)
      await rig.advance(100)
      assert.equal((await busy.done).result.outcome, 'succeeded')
      await settle()
      assert.equal(rig.driver.alive.size, 0)
      assert.equal((await rig.run(version)).result.coldCause, 'evicted')
      assert.equal(await rig.agent.evict({ project: 'other' }), 0)
    })

    test('evict: a secret retires the Versions that hold it and no other', async () => {
      const rig = open()
      await rig.run(versionOf({ secrets: { A: 'db' } }))
      await rig.run(versionOf({}, { functionName: 'other' }))
      assert.equal(await rig.agent.evict({ project: 'default', secret: 'db' }), 1)
      await settle()
      assert.deepEqual(
        (await rig.agent.list()).map(({ version }) => version),
        ['default/other:1'],
      )
    })

    test('capacity: the least recently used idle Instance of another Version makes room, then it is refused', async () => {
      const rig = open({ handler: sleeper }, { memoryMib: 512 })
      const [a, b, c] = ['a', 'b', 'c'].map((functionName) => versionOf({ memoryMib: 256 }, { functionName }))
      assert.ok(a && b && c)
      await rig.run(a)
      await rig.advance(10)
      await rig.run(b)
      await rig.advance(10)
      assert.equal((await rig.run(c)).result.outcome, 'succeeded')
      assert.deepEqual(
        (await rig.agent.list()).map(({ version }) => version ?? '').toSorted((a, b) => a.localeCompare(b)),
        ['default/b:1', 'default/c:1'],
      )
      const busy = [rig.begin(b, { ms: 100 }), rig.begin(c, { ms: 100 })]
      await settle()
      const { result } = await rig.run(a)
      assert.deepEqual([result.outcome, result.refused?.code], ['rejected', 'capacity'])
      await rig.advance(100)
      await Promise.all(busy.map(({ done }) => done))
      assert.equal((await rig.run(a)).result.coldCause, 'evicted')
    })

    test('capacity: an Instance that is to be ready makes room for nobody', async () => {
      const rig = open({}, { memoryMib: 256, poolSize: 0 })
      const [wanted, other] = ['a', 'b'].map((functionName) => versionOf({ memoryMib: 256 }, { functionName }))
      assert.ok(wanted !== undefined && other !== undefined)
      await rig.agent.prepare(wanted, { min: 1, until: rig.clock.nowMs() + 10_000 })
      await settle()
      assert.equal((await rig.run(other)).result.refused?.code, 'capacity')
      await rig.advance(10_001)
      assert.equal((await rig.run(other)).result.outcome, 'succeeded')
    })

    test('capacity: a waiter of a Version that has Instances waits for one of them', async () => {
      const rig = open({ handler: sleeper }, { memoryMib: 256 })
      const version = versionOf({ memoryMib: 256 })
      await rig.run(version)
      const running = [rig.begin(version, { ms: 50 }), rig.begin(version)]
      await rig.advance(50)
      for (const { result } of await Promise.all(running.map(({ done }) => done)))
        assert.equal(result.outcome, 'succeeded')
    })

    test('capacity: a frozen Instance counts what it holds', async () => {
      const rig = open({ faults: { memoryBytes: 32 * 2 ** 20 } }, { memoryMib: 512 })
      await rig.run(versionOf({ memoryMib: 512, freezeAfterMs: 10 }))
      assert.equal((await rig.agent.status()).freeMib, 0)
      await rig.advance(10)
      assert.equal((await rig.agent.status()).freeMib, 480)
    })

    test('memory is all given back when everything is gone', async () => {
      const rig = open({ handler: sleeper, faults: { memoryBytes: 32 * 2 ** 20 } }, { poolSize: 0 })
      const version = versionOf({ freezeAfterMs: 10, keepAliveMs: 100 })
      await Promise.all([rig.run(version), rig.run(version), rig.run(version)])
      await rig.advance(20)
      await rig.run(version)
      rig.driver.faults.initError = 'no'
      await rig.run(versionOf({}, { functionName: 'broken' }))
      await rig.advance(200)
      const { freeMib, memoryMib } = await rig.agent.status()
      assert.equal(freeMib, memoryMib)
      assert.equal(rig.driver.alive.size, 0)
    })

    test('prepare: Instances are ready before anyone asks, and stay until the time given', async () => {
      const rig = open()
      const version = versionOf({ keepAliveMs: 100 })
      await rig.agent.prepare(version, { min: 2, until: rig.clock.nowMs() + 1_000 })
      await settle()
      assert.equal((await rig.agent.status()).instances.ready, 2)
      await rig.advance(500)
      assert.equal((await rig.run(version)).result.start, 'warm')
      assert.equal((await rig.agent.list()).length, 2)
      await rig.advance(600)
      await rig.advance(200)
      assert.equal((await rig.agent.list()).length, 0)
    })

    test('drain: what runs finishes, what comes is refused', async () => {
      const rig = open({ handler: sleeper })
      const version = versionOf()
      const running = rig.begin(version, { ms: 100 })
      await settle()
      const drained = rig.agent.drain(rig.clock.nowMs() + 1_000)
      assert.equal((await rig.run(version)).result.refused?.code, 'draining')
      for (let n = 0; n < 10; n++) await rig.advance(20)
      assert.equal((await running.done).result.outcome, 'succeeded')
      await drained
      await settle()
      assert.equal(rig.driver.alive.size, 0)
    })

    test('uses: code and layers are used until the last Instance has ended, busy or frozen, and then it is told', async () => {
      const rig = open({ handler: sleeper })
      const [code, layer, other] = ['1', '2', '3'].map((digit): Digest => `sha256:${digit.repeat(64)}`)
      assert.ok(code && layer && other)
      const layers = [{ name: 'tools', number: 1, digest: layer }]
      const version = versionOf({ freezeAfterMs: 100 }, { codeDigest: code, layers })
      const twin = versionOf({}, { functionName: 'twin', codeDigest: code })
      const unused: Digest[] = []
      const stop = rig.agent.watch((event) => void (event.type === 'unused' && unused.push(event.digest)))
      const uses = async (): Promise<boolean[]> =>
        Promise.all([code, layer, other].map((digest) => rig.agent.uses(digest)))
      assert.deepEqual(await uses(), [false, false, false])
      await rig.agent.deploy(version)
      assert.deepEqual(await uses(), [false, false, false])
      assert.deepEqual(unused.splice(0).toSorted(), [code, layer])
      await rig.run(version)
      await rig.advance(100)
      assert.equal((await rig.agent.status()).instances.frozen, 1)
      assert.deepEqual(await uses(), [true, true, false])
      const running = rig.begin(twin, { ms: 5_000 })
      await settle()
      await rig.agent.evict({ project: 'default' })
      await settle()
      assert.deepEqual(await uses(), [true, false, false])
      assert.deepEqual(unused.splice(0), [layer])
      await rig.advance(5_000)
      await running.done
      await settle()
      assert.deepEqual(await uses(), [false, false, false])
      assert.deepEqual(unused, [code])
      stop()
    })

    test('uses: a deploy under way uses its files until it has ended, also when it fails', async () => {
      const unpacked = Promise.withResolvers<never>()
      const artifacts = { ...foldersAsArtifacts(new Map(), '/nowhere'), unpack: async () => unpacked.promise }
      const rig = open({}, { artifacts })
      const version = versionOf()
      const deploying = rig.agent.deploy(version)
      assert.equal(await rig.agent.uses(version.codeDigest), true)
      unpacked.reject(new Error('no luck'))
      await assert.rejects(deploying, /no luck/)
      assert.equal(await rig.agent.uses(version.codeDigest), false)
    })

    test('watch: tells of Instances that come and go, and of capacity', async () => {
      const rig = open()
      const events: AgentEvent[] = []
      const stop = rig.agent.watch((event) => void events.push(event))
      const version = versionOf({ keepAliveMs: 200, freezeAfterMs: 100 })
      await rig.run(version)
      await rig.advance(100)
      await rig.advance(100)
      await settle()
      stop()
      await rig.run(version)
      const states = events.flatMap((event) => (event.type === 'instance' ? [event.instance.state] : []))
      assert.deepEqual(states.slice(-3), ['frozen', 'busy', 'dead'])
      assert.ok(events.some(({ type }) => type === 'capacity'))
    })
  })
}
