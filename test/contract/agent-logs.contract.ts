import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { LogLine } from '../../src/domain/agent.ts'
import { limits } from '../../src/domain/limits.ts'
import { type AgentRig, settle, versionOf } from '../support/agent-rig.ts'
import { idOf, type OpenRig, oom, rigsOf } from './agent-contract-rig.ts'

/* What every Agent must do with the output of functions. */

export function agentLogsContract(name: string, openRig: OpenRig): void {
  describe(`agent contract, logs: ${name}`, () => {
    const open = rigsOf(openRig)
    const lines = async (rig: AgentRig): Promise<readonly LogLine[]> => rig.agent.logs.tail('default', 'fn', 100)

    test('tail: output between START and END, REPORT, with invocation and instance', async () => {
      const rig = open({ handler: (_event, meta) => meta.log('hello\nhalf a line') })
      await rig.run(versionOf())
      const all = await lines(rig)
      assert.deepEqual(
        all.map(({ stream, text }) => `${stream}: ${text.split(/[ \t]/)[0]}`),
        ['platform: START', 'stdout: hello', 'stdout: half', 'platform: END', 'platform: REPORT'],
      )
      assert.ok(all.every(({ invocation, instance }) => invocation === idOf(1) && instance.startsWith('i-')))
      assert.match(
        all.at(-1)?.text ?? '',
        /^REPORT RequestId: \S+\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 256 MB\tMax Memory Used: \d+ MB\tInit Duration: /,
      )
    })

    test('a failure: its type, words and stack before END', async () => {
      const rig = open({
        handler: () => {
          throw Object.assign(new TypeError('no\nsuch thing'), {
            stack: 'TypeError: no\n    at own (/var/task/index.js:1:1)',
          })
        },
      })
      await rig.run(versionOf())
      const texts = (await lines(rig)).filter(({ stream }) => stream === 'platform').map(({ text }) => text)
      const id = idOf(1)
      assert.equal(texts[1], `RequestId: ${id} Error: TypeError: no such thing`)
      assert.match(texts[2] ?? '', /^ {4}at /)
      assert.equal(texts.at(-2), `END RequestId: ${id}`)
    })

    test('wantLogTail: the last 4 KiB of this invocation come with the result', async () => {
      const rig = open({ handler: (event, meta) => meta.log(`${'x'.repeat(3_000)}\n${JSON.stringify(event)}\n`) })
      const version = versionOf()
      await rig.run(version, { n: 1 })
      const { result } = await rig.run(version, { n: 2 }, { wantLogTail: true })
      assert.match(result.logTail ?? '', /\{"n":2\}\nEND RequestId/)
      assert.doesNotMatch(result.logTail ?? '', /"n":1/)
      assert.ok((result.logTail ?? '').length <= limits.logTailBytes)
    })

    test('raw output: each line is of the invocation that wrote it, however late it comes, from the first on', async () => {
      const rig = open({ handler: (_event, meta) => meta.logRaw(`id=${meta.invocationId}\nand half a line`) })
      const version = versionOf()
      for (let n = 0; n < 10; n++) await rig.run(version)
      await settle()
      const written = (await lines(rig)).filter(({ stream }) => stream === 'stdout')
      assert.deepEqual(
        written.map(({ invocation, text }) => [invocation, text]),
        Array.from({ length: 10 }, (_, n) => idOf(n + 1)).flatMap((id) => [
          [id, `id=${id}`],
          [id, 'and half a line'],
        ]),
      )
    })

    test('raw output: the first of an Instance that served before without any is of no other invocation, and from then on each is right', async () => {
      const rig = open({
        handler: (event, meta) => void ((event as { n: number }).n >= 3 && meta.logRaw(`id=${meta.invocationId}\n`)),
      })
      const version = versionOf()
      for (let n = 1; n <= 4; n++) await rig.run(version, { n })
      await settle()
      for (let n = 5; n <= 6; n++) await rig.run(version, { n })
      await settle()
      const written = (await lines(rig)).filter(({ stream }) => stream === 'stdout')
      assert.deepEqual(
        written.map(({ invocation }) => invocation),
        [null, null, idOf(5), idOf(6)],
      )
    })

    test('wantLogTail: no raw line of another caller, and the own ones that are late', async () => {
      const rig = open({
        handler: (event, meta) => void ((event as { n: number }).n >= 3 && meta.logRaw(`id=${meta.invocationId}\n`)),
      })
      const version = versionOf()
      for (let n = 1; n <= 3; n++) await rig.run(version, { n })
      const { result } = await rig.run(version, { n: 4 }, { wantLogTail: true })
      assert.match(result.logTail ?? '', new RegExp(`START.*\nid=${idOf(4)}\nEND`))
      assert.doesNotMatch(result.logTail ?? '', new RegExp(idOf(3)))
    })

    test('raw output: an Instance that writes none has its supervisor asked once', async () => {
      const rig = open()
      const version = versionOf()
      await rig.run(version)
      const [sandbox] = rig.driver.alive.values()
      await settle()
      if (sandbox !== undefined) sandbox.supervisor.isMute = true
      // Were it asked again, the next would wait for its answer.
      for (let n = 0; n < 3; n++) {
        const { frames } = rig.begin(version)
        await settle()
        assert.equal(frames.at(-1)?.type, 'result')
      }
    })

    test("raw output: a supervisor that does not answer holds up the next for 250 ms, whose lines are nobody's", async () => {
      const rig = open({ handler: (_event, meta) => meta.logRaw(`id=${meta.invocationId}\n`) })
      const version = versionOf()
      await rig.run(version)
      await settle()
      const [sandbox] = rig.driver.alive.values()
      if (sandbox !== undefined) sandbox.supervisor.isMute = true
      await rig.run(version)
      const third = rig.begin(version)
      await rig.advance(249)
      assert.equal(
        third.frames.some(({ type }) => type === 'result'),
        false,
      )
      await rig.advance(1)
      await third.done
      await settle()
      const written = (await lines(rig)).filter(({ stream }) => stream === 'stdout')
      assert.deepEqual(
        written.map(({ invocation }) => invocation),
        [idOf(1), idOf(2), null],
      )
    })

    test('a crash leaves its reason in the log', async () => {
      const rig = open({ faults: { exitOnInvoke: oom } })
      const running = rig.begin(versionOf())
      await rig.advance(200)
      await running.done
      assert.ok((await lines(rig)).some(({ text }) => /Error: The runtime ran out of memory/.test(text)))
    })

    test('rate: what is over the limit is dropped and counted', async () => {
      const rig = open(
        { handler: (_event, meta) => void Array.from({ length: 40 }, () => meta.log(`${'x'.repeat(999)}\n`)) },
        { logBytesPerSecond: 10_000 },
      )
      const running = rig.begin(versionOf())
      for (let n = 0; n < 10 && !running.frames.some(({ type }) => type === 'result'); n++) await rig.advance(100)
      await running.done
      const texts = (await lines(rig)).map(({ text }) => text)
      const shown = texts.filter((text) => text.startsWith('xxx')).length
      const dropped = texts.flatMap((text) => /^\[hearth\] dropped (\d+) bytes of log output$/.exec(text)?.[1] ?? [])
      assert.ok(shown >= 10 && shown <= 20, `${shown} lines shown`)
      assert.equal(
        dropped.reduce((sum, bytes) => sum + Number(bytes), shown * 1_000),
        40_000,
      )
    })

    test('follow: from an offset and live, until the signal', async () => {
      const rig = open({ handler: (event, meta) => meta.log(`${JSON.stringify(event)}\n`) })
      const version = versionOf()
      await rig.run(version, 1)
      const [first] = await lines(rig)
      const stop = new AbortController()
      const seen: string[] = []
      const following = (async () => {
        const options = { fromOffset: first?.offset ?? 0, signal: stop.signal }
        for await (const { stream, text } of rig.agent.logs.follow('default', 'fn', options))
          if (stream === 'stdout') seen.push(text)
      })()
      await rig.run(version, 2)
      await rig.advance(60)
      for (let tries = 0; tries < 50 && seen.length < 2; tries++) await settle()
      assert.deepEqual(seen, ['1', '2'])
      stop.abort()
      await following
    })

    test('delete: nothing is left to read', async () => {
      const rig = open()
      await rig.run(versionOf())
      await rig.agent.logs.delete('default', 'fn')
      assert.deepEqual(await lines(rig), [])
    })
  })
}
