import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { LogLine, UsagePeaks } from '../../src/domain/agent.ts'
import type { Version } from '../../src/domain/function.ts'
import { limits } from '../../src/domain/limits.ts'
import type { Ran } from '../support/agent-rig.ts'
import { handlers } from '../support/handlers.ts'
import { launcherMissing } from '../support/launcher.ts'
import { ProcessRig } from '../support/process-rig.ts'
import { until } from '../support/until.ts'

/* The agent over real sandboxes and real interpreters: what handlers can do to it, and what it makes of that. */

const skip = launcherMissing() ?? false

for (const family of ['node', 'python'] as const)
  describe(`agent over sandboxes: ${family}`, { skip }, () => {
    let host: ProcessRig
    let version: Version
    before(async () => {
      host = await ProcessRig.open({ poolSize: 1 })
      version = await host.version(family, handlers[family].code, { config: { timeoutMs: 10_000 } })
    })
    after(async () => host.close())
    const run = async (event: Record<string, unknown>, request = {}): Promise<Ran> =>
      host.rig.run(version, event, request)
    const soon = async (event: Record<string, unknown>, ms: number): Promise<Ran> =>
      run(event, { deadline: Date.now() + ms })

    test('echo: cold, then warm', async () => {
      const first = await run({ n: 1 })
      assert.deepEqual(JSON.parse(first.body.toString()), { n: 1 })
      assert.match(first.result.start ?? '', /pool|boot/)
      assert.equal((await run({ n: 2 })).result.start, 'warm')
      // Memory is sampled beside the invocations, not within them.
      await new Promise((resolve) => setTimeout(resolve, 1_000))
      const { memoryPeakMib } = (await run({ n: 3 })).result
      assert.ok(memoryPeakMib > 5, `${memoryPeakMib} MiB`)
    })

    test('throws and rejects: failed, completed', async () => {
      for (const how of ['throw', 'reject']) {
        const { result } = await run({ do: how })
        assert.deepEqual([result.outcome, result.effect], ['failed', 'completed'])
        assert.match(result.error?.errorMessage ?? '', /on purpose/)
      }
    })

    for (const how of ['hang', 'spin'])
      test(`${how}: timed out, may have committed; also as the first thing an Instance does`, async () => {
        const warm = await soon({ do: how }, 300)
        assert.deepEqual([warm.result.outcome, warm.result.effect], ['timed_out', 'may_have_committed'])
        const cold = await soon({ do: how }, 5_000)
        assert.deepEqual([cold.result.outcome, cold.result.effect], ['timed_out', 'may_have_committed'])
      })

    for (const [how, reason] of [
      ['exit', 'exit'],
      ['killed', 'signal'],
      ['oom', 'oom'],
    ] as const)
      test(`${how}: crashed by ${reason}, and the next start says so`, async () => {
        await run({})
        const { result } = await run({ do: how })
        assert.deepEqual(
          [result.outcome, result.crashReason, result.effect],
          ['crashed', reason, 'may_have_committed'],
          JSON.stringify(result.error),
        )
        assert.equal((await run({})).result.coldCause, 'crash')
      })

    test('results: bytes as they are, a cycle fails, exactly 6 MiB passes, one byte more does not', async () => {
      assert.deepEqual([...(await run({ do: 'binary' })).body], [0, 255, 1, 254])
      assert.equal((await run({ do: 'cycle' })).result.outcome, 'failed')
      assert.equal((await run({ do: 'large', bytes: limits.payloadBytesMax - 2 })).body.length, limits.payloadBytesMax)
      const { result } = await run({ do: 'large', bytes: limits.payloadBytesMax - 1 })
      assert.equal(result.error?.errorType, 'Function.ResponseSizeTooLarge')
    })

    test('a request of 6 MiB comes back', async () => {
      const pad = 'x'.repeat(limits.payloadBytesMax - 20)
      assert.equal(JSON.parse((await run({ pad })).body.toString()).pad.length, pad.length)
    })

    test('children: the answer does not wait for them, and they go with the Instance', async () => {
      assert.equal((await run({ do: 'children' })).result.outcome, 'succeeded')
      await host.rig.agent.evict({ project: 'default' })
      assert.equal((await run({})).result.coldCause, 'evicted')
    })

    test('/tmp full: crashed by ephemeral_full', async () => {
      const small = { ...version, number: 2, config: { ...version.config, memoryMib: 512, ephemeralMib: 64 } }
      const { result } = await host.rig.run(small, { do: 'fill' })
      assert.deepEqual(
        [result.outcome, result.crashReason],
        ['crashed', 'ephemeral_full'],
        JSON.stringify(result.error),
      )
    })

    test('output: raw and of the language, with the invocation, in the tail', async () => {
      const { result } = await run({ do: 'raw' }, { wantLogTail: true })
      for (const text of ['raw out', 'raw err', 'language out', 'START', 'END', 'REPORT'])
        assert.ok(result.logTail?.includes(text), `${text} in ${result.logTail}`)
    })

    test('raw output: each line is of the invocation that wrote it, called one right behind the other', async () => {
      const source =
        family === 'node'
          ? "const fs = require('node:fs')\nexports.handler = (event, context) => { fs.writeSync(1, `id=${context.awsRequestId}\\n`) }"
          : 'import os\ndef handler(event, context):\n    os.write(1, f"id={context.aws_request_id}\\n".encode())'
      const writer = await host.version(family, source, { name: 'writer' })
      const count = 100
      for (let n = 0; n < count; n++) await host.rig.run(writer)
      const written = async (): Promise<readonly LogLine[]> =>
        (await host.rig.agent.logs.tail('default', 'writer', 5 * count)).filter(({ text }) => text.startsWith('id='))
      await until(async () => (await written()).length === count || 'lines are missing', {
        what: 'the output',
      })
      const wrong = (await written()).filter(({ invocation, text }) => text !== `id=${invocation}`)
      assert.deepEqual(wrong, [])
    })

    test('usage: memory and /tmp of the invocation that took them, and what a frozen Instance holds', async () => {
      const source =
        family === 'node'
          ? `let kept; exports.handler = (event) => {
               if (event.touchMib) Buffer.alloc(event.touchMib << 20, 1)
               if (event.keepMib) kept = Buffer.alloc(event.keepMib << 20, 1)
               if (event.fileMib) require('node:fs').writeFileSync('/tmp/file', Buffer.alloc(event.fileMib << 20, 1))
             }`
          : [
              'kept = None',
              'def handler(event, context):',
              '    global kept',
              '    if "touchMib" in event: b"x" * (event["touchMib"] << 20)',
              '    if "keepMib" in event: kept = b"x" * (event["keepMib"] << 20)',
              '    if "fileMib" in event: open("/tmp/file", "wb").write(b"x" * (event["fileMib"] << 20))',
            ].join('\n')
      const user = await host.version(family, source, { name: 'user', config: { memoryMib: 1024, ephemeralMib: 128 } })
      const used = async (event: Record<string, number>): Promise<UsagePeaks> => {
        const { frames } = await host.rig.run(user, event)
        await until(() => frames.some(({ type }) => type === 'usage') || event['warm'] === 1 || 'no usage', {
          what: 'the usage',
        })
        const last = frames.at(-1)
        assert.ok(last?.type === 'usage' || last?.type === 'result')
        return last.type === 'usage' ? last : last.result
      }
      await host.rig.agent.evict({ project: 'default' })
      const areGone = async (): Promise<true | string> =>
        (await host.rig.agent.list()).every(({ version }) => version === null) || 'some are left'
      await until(areGone, { what: 'the end of the others' })
      const { freeMib } = await host.rig.agent.status()
      const first = await used({})
      assert.ok(first.memoryPeakMib > 1 && first.memoryPeakMib < 120, `${first.memoryPeakMib} MiB`)
      const big = await used({ touchMib: 150 })
      assert.ok(big.memoryPeakMib > 150 && big.memoryPeakMib < 300, `${big.memoryPeakMib} MiB`)
      const next = await used({ warm: 1 })
      // Node collects such garbage later.
      if (family === 'python') assert.ok(next.memoryPeakMib < 120, `${next.memoryPeakMib} MiB`)
      assert.ok(next.ephemeralBytesPeak < 2 ** 20, `${next.ephemeralBytesPeak} bytes`)
      const filed = await used({ fileMib: 50 })
      assert.ok(filed.ephemeralBytesPeak >= 50 * 2 ** 20, `${filed.ephemeralBytesPeak} bytes`)
      await used({ keepMib: 200 })
      const isFrozen = async (): Promise<true | string> =>
        (await host.rig.agent.list()).some(
          ({ version, state }) => version?.includes('/user:') === true && state === 'frozen',
        ) || 'not frozen'
      await until(isFrozen, { what: 'the freezing' })
      const chargedMib = freeMib - (await host.rig.agent.status()).freeMib
      // With the file, which is memory too.
      assert.ok(chargedMib > 250 && chargedMib < 1024, `${chargedMib} MiB`)
      await host.rig.agent.evict({ project: 'default', functionName: 'user' })
    })

    test('freeze: an idle Instance is frozen and thawed by an invocation', async () => {
      await run({})
      await new Promise((resolve) => setTimeout(resolve, 300))
      assert.ok((await host.rig.agent.status()).instances.frozen >= 1)
      assert.equal((await run({ n: 1 })).result.start, 'warm')
    })

    test('user: an own uid with a name, never root', async () => {
      const { uid, user } = JSON.parse((await run({ do: 'user' })).body.toString()) as { uid: number; user: string }
      assert.ok(uid > 1_000)
      assert.equal(user, 'function')
    })

    test('1,000 in sequence and 100 at once: each answer matches its request', async () => {
      for (let n = 0; n < 1_000; n++) assert.deepEqual(JSON.parse((await run({ n })).body.toString()), { n })
      const all = await Promise.all(Array.from({ length: 100 }, async (_, n) => run({ n })))
      for (const [n, { body }] of all.entries()) assert.deepEqual(JSON.parse(body.toString()), { n })
    })

    test('init: a module that throws, one that never loads, one that exits', async () => {
      const load = async (source: string, initTimeoutMs = 10_000): Promise<Ran['result']> => {
        const broken = await host.version(family, source, { config: { initTimeoutMs }, name: 'broken' })
        return (await host.rig.run(broken)).result
      }
      const [throwing, endless, exiting] =
        family === 'node'
          ? ["throw new Error('cannot come up')", 'while (true) {}', 'process.exit(1)']
          : ["raise ValueError('cannot come up')", 'while True: pass', 'import os; os._exit(1)']
      const thrown = await load(throwing)
      assert.deepEqual([thrown.crashReason, thrown.effect], ['init_error', 'never_started'])
      assert.match(thrown.error?.errorMessage ?? '', /cannot come up/)
      assert.deepEqual((await load(endless, 1_000)).crashReason, 'init_timeout')
      assert.deepEqual((await load(exiting)).crashReason, 'exit')
    })

    if (family === 'node') {
      test('an uncaught error ends its own invocation and no other', async () => {
        for (let n = 0; n < 5; n++) {
          const { result } = await run({ do: 'late' })
          assert.deepEqual([result.outcome, result.error?.errorMessage], ['failed', 'late'])
          assert.equal((await run({ n })).result.outcome, 'succeeded')
        }
      })

      test('cancel: a handler that heeds its signal keeps the Instance', async () => {
        await run({})
        const running = host.rig.begin(version, { do: 'cancellable' })
        await new Promise((resolve) => setTimeout(resolve, 50))
        running.call.send({ type: 'cancel', reason: 'test' })
        assert.equal((await running.done).result.outcome, 'cancelled')
        assert.equal((await run({})).result.start, 'warm')
      })

      test('waitUntil: not frozen before the work is done', async () => {
        await run({ do: 'work' })
        await new Promise((resolve) => setTimeout(resolve, 200))
        assert.equal(
          (await host.rig.agent.list()).some(({ state }) => state === 'ready'),
          true,
        )
        await new Promise((resolve) => setTimeout(resolve, 500))
        assert.ok((await host.rig.agent.status()).instances.frozen >= 1)
      })
    }
  })
