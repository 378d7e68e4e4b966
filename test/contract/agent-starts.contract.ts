import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { settle, versionOf } from '../support/agent-rig.ts'
import { type OpenRig, rigsOf, sleeper } from './agent-contract-rig.ts'

/* How an Agent starts Instances, over the fake driver in virtual time. */

export function agentStartsContract(name: string, openRig: OpenRig): void {
  describe(`agent contract, starts: ${name}`, () => {
    const open = rigsOf(openRig)

    test('execute: cold and first at first, then warm on the same Instance', async () => {
      const rig = open({ handler: sleeper })
      const version = versionOf()
      const first = await rig.run(version)
      assert.equal(first.result.outcome, 'succeeded')
      assert.equal(first.result.effect, 'completed')
      assert.deepEqual([first.result.start, first.result.coldCause], ['boot', 'first'])
      const second = await rig.run(version)
      assert.deepEqual([second.result.start, second.result.coldCause], ['warm', null])
      assert.deepEqual(second.body, first.body)
      assert.equal(rig.driver.boots, 1)
    })

    test('execute: the phases of a start explain its time', async () => {
      const rig = open({ handler: sleeper, faults: { bootMs: 20, networkMs: 5, loadMs: 30 } })
      const running = rig.begin(versionOf(), { ms: 7 })
      for (const ms of [20, 30, 7]) await rig.advance(ms)
      const { phases, durationMs } = (await running.done).result
      const spans = Object.fromEntries(phases.map(({ phase, startMs, durationMs: ms }) => [phase, [startMs, ms]]))
      assert.deepEqual(spans['sandbox'], [0, 15])
      assert.deepEqual(spans['network'], [15, 5])
      assert.deepEqual(spans['code_load'], [20, 30])
      assert.deepEqual(spans['first_request'], [50, 7])
      assert.equal(durationMs, 7)
    })

    test('execute: with egress the network of the bind is the one that is told', async () => {
      const rig = open({ handler: () => 'x', faults: { networkMs: 5 } })
      const { result } = await rig.run(versionOf({ network: 'egress' }))
      const names = result.phases.map(({ phase }) => phase)
      assert.deepEqual(names.slice(names.indexOf('alloc'), names.indexOf('connect')), ['alloc', 'network'])
      assert.equal(names.filter((name) => name === 'network').length, 1)
    })

    test('execute: frames come as started, data, result', async () => {
      const rig = open({ handler: () => 'x' })
      const { frames } = await rig.run(versionOf())
      assert.deepEqual(
        frames.map(({ type }) => type),
        ['started', 'data', 'result'],
      )
    })

    test('pool: a booted Instance is bound, refilled after the start, and the source says pool', async () => {
      const rig = open({ handler: sleeper }, { poolSize: 1 })
      await rig.agent.register()
      await rig.advance(20)
      assert.equal((await rig.agent.status()).instances.booted, 1)
      const { result } = await rig.run(versionOf())
      assert.equal(result.start, 'pool')
      assert.equal(result.phases.find(({ phase }) => phase === 'sandbox')?.source, 'pool')
      assert.equal((await rig.agent.status()).instances.booted, 0)
      await rig.advance(20)
      assert.equal((await rig.agent.status()).instances.booted, 1)
    })

    test('pool: refilling waits while a start is under way', async () => {
      const rig = open({ handler: sleeper }, { poolSize: 1 })
      await rig.agent.register()
      await rig.advance(20)
      rig.driver.faults.loadMs = 500
      const running = rig.begin(versionOf())
      await rig.advance(400)
      assert.equal(rig.driver.boots, 1)
      await rig.advance(100)
      await running.done
      await rig.advance(20)
      assert.equal(rig.driver.boots, 2)
    })

    test('late binding: a waiter takes the Instance that becomes free before its own has come up', async () => {
      const rig = open({ handler: sleeper })
      const version = versionOf()
      await rig.run(version)
      rig.driver.faults.bootMs = 1_000
      const busy = rig.begin(version, { ms: 50 })
      const waiting = rig.begin(version)
      await rig.advance(50)
      const [one, two] = await Promise.all([busy.done, waiting.done])
      assert.equal(two.result.start, 'warm')
      assert.deepEqual(two.body, one.body)
    })

    test('late binding: a waiter takes the new Instance when it comes first, cause scaled', async () => {
      const rig = open({ handler: sleeper, faults: { bootMs: 10 } })
      const version = versionOf()
      const first = rig.begin(version, { ms: 500 })
      await rig.advance(10)
      const second = rig.begin(version)
      await rig.advance(10)
      const { result } = await second.done
      assert.deepEqual([result.start, result.coldCause], ['boot', 'scaled'])
      await rig.advance(500)
      await first.done
    })

    test('cause: the hint of the caller counts for a Version that never ran here', async () => {
      const rig = open()
      const { result } = await rig.run(versionOf(), {}, { coldHint: 'new_version' })
      assert.equal(result.coldCause, 'new_version')
    })

    test('a failed boot is retried by nobody and answers never_started', async () => {
      const rig = open({ faults: { failBoot: { step: 'cgroup.memory', times: 1 } } })
      const { result } = await rig.run(versionOf())
      assert.deepEqual([result.outcome, result.crashReason, result.effect], ['crashed', 'init_error', 'never_started'])
      assert.match(result.error?.errorMessage ?? '', /step "cgroup.memory" failed/)
      assert.equal((await rig.run(versionOf())).result.outcome, 'succeeded')
    })

    test('init: an error of the module has its words and phase, and answers every waiter', async () => {
      const rig = open({ faults: { initError: 'cannot come up', loadMs: 10 } })
      const version = versionOf()
      const waiters = [rig.begin(version), rig.begin(version)]
      await rig.advance(10)
      for (const { result } of await Promise.all(waiters.map(({ done }) => done))) {
        assert.deepEqual(
          [result.outcome, result.crashReason, result.effect],
          ['crashed', 'init_error', 'never_started'],
        )
        assert.match(result.error?.errorMessage ?? '', /cannot come up \(phase code_load\)/)
      }
      await settle()
      assert.equal(rig.driver.alive.size, 0)
    })

    test('init: a module that never loads ends at its own limit', async () => {
      const rig = open({ faults: { loadMs: Infinity } })
      const running = rig.begin(versionOf({ initTimeoutMs: 500 }))
      await rig.advance(500)
      const { result } = await running.done
      assert.deepEqual([result.outcome, result.crashReason], ['crashed', 'init_timeout'])
    })

    test('init: a runtime that exits while loading is a crash by exit', async () => {
      const rig = open({ faults: { exitOnLoad: { code: 1, signal: null, oom: false } } })
      const { result } = await rig.run(versionOf())
      assert.deepEqual([result.outcome, result.crashReason], ['crashed', 'exit'])
    })

    test('init: an Instance that ends at the event it began with takes nobody else along', async () => {
      const exitOnLoad = { code: 1, signal: null, oom: false, times: 1 }
      const rig = open({ faults: { exitOnLoad, bootMs: 1_000 } })
      const version = versionOf()
      const first = rig.begin(version)
      await rig.advance(500)
      const second = rig.begin(version)
      await rig.advance(700)
      assert.equal((await first.done).result.outcome, 'crashed')
      await rig.advance(1_000)
      assert.equal((await second.done).result.outcome, 'succeeded')
    })

    test('backoff: after three failed starts in a row the next are refused, longer each time, until one works', async () => {
      const rig = open({ faults: { initError: 'no' } })
      const version = versionOf()
      for (let n = 0; n < 3; n++) assert.equal((await rig.run(version)).result.outcome, 'crashed')
      const refused = (await rig.run(version)).result
      assert.equal(refused.outcome, 'rejected')
      assert.deepEqual([refused.refused?.code, refused.refused?.retryAfterMs], ['backoff', 1_000])
      assert.match(refused.refused?.message ?? '', /last 3 starts of default\/fn:1 failed.*Last error: no/)
      await rig.advance(1_000)
      assert.equal((await rig.run(version)).result.outcome, 'crashed')
      assert.equal((await rig.run(version)).result.refused?.retryAfterMs, 2_000)
      await rig.advance(2_000)
      delete rig.driver.faults.initError
      assert.equal((await rig.run(version)).result.outcome, 'succeeded')
    })

    test('secrets: revealed at BIND, joined with env', async () => {
      const rig = open({ handler: (_event, meta) => meta.bind.env })
      rig.secrets.set('db', 'hush')
      const { body } = await rig.run(versionOf({ env: { A: 'a' }, secrets: { DB: 'db' } }))
      assert.deepEqual(JSON.parse(body.toString()), { A: 'a', DB: 'hush' })
    })

    test('starts that fail while an Instance is busy: one more is tried when the backoff is over, for who waits', async () => {
      const rig = open({ handler: sleeper })
      const version = versionOf()
      const busy = rig.begin(version, { ms: 20_000 })
      await settle()
      rig.driver.faults.initError = 'no'
      const waiting = rig.begin(version, { ms: 1 })
      await settle()
      delete rig.driver.faults.initError
      await rig.advance(1_000)
      await settle()
      await rig.advance(1)
      assert.equal((await waiting.done).result.outcome, 'succeeded')
      await rig.advance(20_000)
      assert.equal((await busy.done).result.outcome, 'succeeded')
    })

    test('prepare: what could not be started is tried again when the backoff is over, though nobody waits', async () => {
      const rig = open({ handler: sleeper, faults: { initError: 'no' } })
      const version = versionOf()
      await rig.agent.prepare(version, { min: 1, until: rig.clock.nowMs() + 60_000 })
      await settle()
      delete rig.driver.faults.initError
      await rig.advance(1_000)
      await settle()
      assert.equal((await rig.agent.list()).filter(({ version }) => version !== null).length, 1)
    })
  })
}
