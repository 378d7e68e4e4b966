import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { Duplex } from 'node:stream'
import { afterEach, describe, test } from 'node:test'
import { Flag, frameName, FrameType, type Frame } from '../src/wire/frame.ts'
import { GuestPeer } from '../src/wire/guest-peer.ts'
import { bindMessage } from '../test/support/bind-message.ts'
import { codeFolder } from './support/subject.ts'

const seed = '5a'.repeat(32)

/** A real runtime without a VM, spoken to frame by frame as PID 1 and the agent would together. */
class Raw {
  readonly child: ChildProcess
  readonly exited: Promise<number | null>
  readonly peer: GuestPeer
  #frames: Frame[] = []
  #wake: () => void = () => {}

  constructor(command: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const [program = '', ...args] = command
    this.child = spawn(program, args, {
      stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
      env: { HEARTH_EPOCH: 'e1', PATH: '/usr/bin:/bin', HOME: '/tmp', HEARTH_SNAPSHOT: '1', ...env },
    })
    this.exited = once(this.child, 'exit').then(([code]: (number | null)[]) => code ?? null)
    const channel = this.child.stdio[3]
    assert(channel instanceof Duplex)
    this.peer = new GuestPeer(channel, (frame) => {
      this.#frames.push({ ...frame, payload: Buffer.from(frame.payload) })
      this.#wake()
    })
  }

  /** The next frame of this type; output that comes before it is kept in `logs`, anything else is wrong. */
  async next(type: FrameType): Promise<Frame> {
    for (;;) {
      const frame = this.#frames.shift()
      if (frame === undefined) {
        const wake = new Promise<boolean>((resolve) => (this.#wake = () => resolve(true)))
        const isAlive = await Promise.race([wake, this.exited.then(() => false)])
        // Its last frames may come after the news of its end.
        if (!isAlive && this.#frames.length === 0) await new Promise((resolve) => setImmediate(resolve))
        assert(isAlive || this.#frames.length > 0, `the runtime ended before ${frameName(type)}`)
      } else if (frame?.type === FrameType.log) this.logs += frame.payload.toString()
      else {
        assert.equal(frameName(frame.type), frameName(type), frame.payload.toString())
        return frame
      }
    }
  }
  logs = ''

  async json(type: FrameType): Promise<Record<string, unknown>> {
    const message: Record<string, unknown> = JSON.parse((await this.next(type)).payload.toString())
    return message
  }

  bind(taskRoot: string, handler: string, rest: object = {}): void {
    this.peer.json(FrameType.bind, 0, { ...bindMessage, handler, env: { SECRET: 'old' }, taskRoot, ...rest })
  }

  async call(stream: number, kind: 'invoke' | 'identity' = 'invoke'): Promise<Record<string, unknown>> {
    const message = {
      id: 'x',
      deadlineMs: Date.now() + 10_000,
      contentType: 'application/json',
      traceparent: null,
      kind,
    }
    this.peer.json(FrameType.invoke, stream, message)
    this.peer.send(FrameType.data, Flag.fin, stream, '{}')
    const frame = await this.next(FrameType.data)
    assert.equal(frame.stream, stream)
    if (frame.flags === 0) await this.next(FrameType.end)
    const result: Record<string, unknown> = JSON.parse(frame.payload.toString())
    return result
  }

  /** As agent and driver do it before the VM is saved. */
  async prepare(): Promise<void> {
    this.peer.json(FrameType.prepareSnapshot, 0, {})
    this.peer.send(FrameType.ping, 0, 0, 'quiet?')
    assert.equal((await this.next(FrameType.ping)).payload.toString(), 'quiet?')
  }

  /** Resolves with what HELLO says of an earlier host's work. */
  async resume(epoch: string, rest: { isTakenOver?: boolean } = {}): Promise<boolean> {
    this.sendResume(epoch, rest)
    return this.resumed(epoch)
  }

  sendResume(epoch: string, rest: { isTakenOver?: boolean }): void {
    this.peer.json(FrameType.resume, 0, { nowMs: Date.now(), seed, epoch, ...rest })
  }

  async resumed(epoch: string): Promise<boolean> {
    assert.deepEqual(await this.json(FrameType.resumed), { epoch })
    const hello = await this.json(FrameType.hello)
    assert.deepEqual([hello['epoch'], hello['role'], hello['protocol']], [epoch, 'runtime', 1])
    this.peer.json(FrameType.configure, 0, { instance: 'i-2', nowMs: Date.now(), logBytesPerSecond: 1 })
    return hello['isBusy'] === true
  }
}

const families = {
  node: {
    command: [process.execPath, path.join(import.meta.dirname, 'node/bootstrap.cjs')],
    handler: 'index.handler',
    code: {
      'index.js': `
        const events = []
        const random = Math.random
        hearth.beforeSnapshot(async () => { await null; events.push('before', process.env.SECRET) })
        hearth.afterRestore(async () => { await null; events.push('after', process.env.SECRET) })
        exports.handler = async () => ({ events, secret: process.env.SECRET, random: random() })`,
    },
    failing: {
      before: { 'index.js': `hearth.beforeSnapshot(() => { throw new Error('not now') }); exports.handler = () => 1` },
      after: { 'index.js': `hearth.afterRestore(() => { throw new Error('not here') }); exports.handler = () => 1` },
    },
    ownValues: ['randomBytes', 'uuid', 'randomInt', 'mathRandom'],
  },
  python: {
    command: ['/usr/bin/python3', '-I', '-S', path.join(import.meta.dirname, 'python/bootstrap.py')],
    handler: 'index.handler',
    code: {
      'index.py': `
import os
import random
import hearth_snapshot
events = []
@hearth_snapshot.before
async def quiesce():
    events.extend(["before", os.environ["SECRET"]])
hearth_snapshot.after(lambda: events.extend(["after", os.environ["SECRET"]]))
def handler(event, context):
    return {"events": events, "secret": os.environ["SECRET"], "random": random.random()}
`,
    },
    failing: {
      before: {
        'index.py': `import hearth_snapshot\n@hearth_snapshot.before\ndef f(): raise Exception("not now")\ndef handler(e, c): pass\n`,
      },
      after: {
        'index.py': `import hearth_snapshot\n@hearth_snapshot.after\ndef f(): raise Exception("not here")\ndef handler(e, c): pass\n`,
      },
    },
    ownValues: ['randomBytes', 'uuid', 'mathRandom', 'random', 'secrets', 'uuid4', 'sslRandom'],
  },
} as const

for (const [family, { command, handler, code, failing, ownValues }] of Object.entries(families))
  describe(
    `snapshots of the ${family} runtime`,
    { skip: !existsSync(command[0]) && `${command[0]} is missing` },
    () => {
      const subjects: Raw[] = []
      const start = async (): Promise<Raw> => {
        const raw = new Raw(command)
        subjects.push(raw)
        await raw.next(FrameType.hello)
        return raw
      }
      afterEach(() => {
        for (const { child } of subjects.splice(0)) child.kill('SIGKILL')
      })

      test('PREPARE_SNAPSHOT before any code, RESUME, then BIND as after a boot', async () => {
        const raw = await start()
        await raw.prepare()
        await raw.resume('e2')
        raw.bind(codeFolder(code), handler)
        await raw.next(FrameType.ready)
        assert.deepEqual((await raw.call(1))['events'], [])
      })

      test('a loaded function: hooks run once each, the environment is replaced, streams count anew', async () => {
        const raw = await start()
        const folder = codeFolder(code)
        raw.bind(folder, handler)
        await raw.next(FrameType.ready)
        await raw.call(1)
        await raw.prepare()
        await raw.resume('e2')
        raw.bind(folder, handler, { env: { SECRET: 'new' } })
        await raw.next(FrameType.ready)
        const { events, secret } = await raw.call(1)
        assert.deepEqual(events, ['before', 'old', 'after', 'new'])
        assert.equal(secret, 'new')
      })

      test('under another host: no hook runs, the environment is replaced, streams count anew', async () => {
        const raw = await start()
        const folder = codeFolder(code)
        raw.bind(folder, handler)
        await raw.next(FrameType.ready)
        await raw.call(1)
        assert.equal(await raw.resume('e2', { isTakenOver: true }), false)
        raw.bind(folder, handler, { env: { SECRET: 'new' } })
        await raw.next(FrameType.ready)
        const { events, secret } = await raw.call(1)
        assert.deepEqual([events, secret], [[], 'new'])
      })

      test('a loaded function takes no other one', async () => {
        const raw = await start()
        const folder = codeFolder(code)
        raw.bind(folder, handler)
        await raw.next(FrameType.ready)
        await raw.prepare()
        await raw.resume('e2')
        raw.bind(folder, handler, { version: '2' })
        const failure = await raw.json(FrameType.fail)
        assert.equal(failure['errorMessage'], 'This snapshot is of f:1, not of f:2.')
        assert.equal(failure['phase'], 'after_restore')
        assert.equal(await raw.exited, 1)
      })

      test('a hook that fails before the snapshot ends the runtime, and says why', async () => {
        const raw = await start()
        raw.bind(codeFolder(failing.before), handler)
        await raw.next(FrameType.ready)
        raw.peer.json(FrameType.prepareSnapshot, 0, {})
        raw.peer.send(FrameType.ping, 0, 0, 'quiet?')
        assert.equal(await raw.exited, 1)
        await assert.rejects(raw.next(FrameType.ping), /the runtime ended before PING/)
        assert.match(raw.logs, /not now/)
      })

      test('a hook that fails after the restore fails the start', async () => {
        const raw = await start()
        const folder = codeFolder(failing.after)
        raw.bind(folder, handler)
        await raw.next(FrameType.ready)
        await raw.prepare()
        await raw.resume('e2')
        raw.bind(folder, handler)
        const failure = await raw.json(FrameType.fail)
        assert.deepEqual([failure['errorMessage'], failure['phase']], ['not here', 'after_restore'])
        assert.equal(await raw.exited, 1)
      })

      test('identity answers values drawn anew, and the environment as hashes', async () => {
        const raw = await start()
        raw.bind(codeFolder(code), handler)
        await raw.next(FrameType.ready)
        const [one, two] = [await raw.call(1, 'identity'), await raw.call(3, 'identity')]
        for (const name of ownValues) {
          assert.ok(one[name] !== undefined, name)
          assert.notEqual(one[name], two[name], name)
        }
        assert.ok(Math.abs(Number(one['nowMs']) - Date.now()) < 5_000)
        assert.ok(Array.isArray(one['addresses']))
        assert.equal(typeof one['hostname'], 'string')
        const env: unknown = one['env']
        assert.ok(typeof env === 'object' && env !== null)
        const hashes = new Map(Object.entries(env))
        assert.equal(hashes.get('SECRET'), createHash('sha256').update('old').digest('hex'))
        assert.equal(hashes.has('HEARTH_SNAPSHOT'), false)
      })
    },
  )

test(
  'a Python runtime under another host says that an invocation of the one before ran when it was resumed',
  { skip: !existsSync('/usr/bin/python3') && '/usr/bin/python3 is missing' },
  async () => {
    const { command, handler } = families.python
    const raw = new Raw(command)
    try {
      await raw.next(FrameType.hello)
      const sleeps = 'import time\ndef handler(event, context):\n    time.sleep(0.5)\n'
      raw.bind(codeFolder({ 'index.py': sleeps }), handler)
      await raw.next(FrameType.ready)
      const invoke = { id: 'x', deadlineMs: Date.now() + 60_000, contentType: 'application/json', traceparent: null }
      raw.peer.json(FrameType.invoke, 1, { ...invoke, kind: 'invoke' })
      raw.peer.send(FrameType.data, Flag.fin, 1, '{}')
      raw.sendResume('e2', { isTakenOver: true })
      await raw.next(FrameType.data)
      assert.equal(await raw.resumed('e2'), true)
      // The next host finds it idle.
      assert.equal(await raw.resume('e3', { isTakenOver: true }), false)
    } finally {
      raw.child.kill('SIGKILL')
    }
  },
)

for (const [work, event] of [
  ['an invocation', '{}'],
  ['waitUntil work', '{"later":true}'],
] as const)
  test(`a Node runtime under another host says that ${work} of the one before still runs`, async () => {
    const { command, handler } = families.node
    const raw = new Raw(command)
    try {
      await raw.next(FrameType.hello)
      const waits = `exports.handler = async (event, context) => {
      if (event.later) context.waitUntil(new Promise((resolve) => setTimeout(resolve, 60_000)))
      else await new Promise((resolve) => setTimeout(resolve, 60_000))
    }`
      raw.bind(codeFolder({ 'index.js': waits }), handler)
      await raw.next(FrameType.ready)
      const invoke = { id: 'x', deadlineMs: Date.now() + 60_000, contentType: 'application/json', traceparent: null }
      raw.peer.json(FrameType.invoke, 1, { ...invoke, kind: 'invoke' })
      raw.peer.send(FrameType.data, Flag.fin, 1, event)
      if (work === 'waitUntil work') await raw.next(FrameType.data)
      assert.equal(await raw.resume('e2', { isTakenOver: true }), true)
    } finally {
      raw.child.kill('SIGKILL')
    }
  })
