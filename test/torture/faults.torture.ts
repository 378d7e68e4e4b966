import assert from 'node:assert/strict'
import net from 'node:net'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { after, before } from 'node:test'
import { call, deployFiles, invoke, updateFiles } from '../support/functions.ts'
import { heldAtRest, leftovers, pidsOf, untilHeld } from '../support/leftovers.ts'
import { startPlatform, type Platform } from '../support/platform.ts'
import { seededTest } from '../support/seeded.ts'

/* Faults from below, beside and inside, on one running platform: after each, the next call works and nothing is held. */

let platform: Platform
before(async () => {
  platform = await startPlatform()
})
after(async () => {
  assert.equal(await platform.stop(), 0)
  assert.deepEqual(leftovers(platform.data), [])
})

const config = { memoryMib: 128, timeoutMs: 2_000, keepAliveMs: 2_000 }
const node = (name: string, code: string) => ({
  name,
  runtime: 'node',
  handler: 'index.handler',
  files: { 'index.js': code },
  config,
})

seededTest(
  'SIGSTOP of a runtime or of its supervisor: the call times out at its limit, the next one works',
  async (random) => {
    await deployFiles(
      platform,
      node(
        'stopped',
        'exports.handler = async ({ ms }) => { await new Promise((r) => setTimeout(r, ms)); return 1 }\n',
      ),
    )
    const held = await heldAtRest(platform)
    for (let round = 0; round < 10; round++) {
      await invoke(platform, 'stopped', { ms: 0 })
      const running = invoke(platform, 'stopped', { ms: 300 })
      await delay(random.next() * 250)
      const who = random.pick(['runtime', 'supervisor'])
      const pid = pidsOf(platform.data).find(
        (each) => isServing(each, 'setTimeout(r, ms)); return 1') && isGuest(each) === (who === 'supervisor'),
      )
      assert.ok(pid !== undefined, `no ${who} found`)
      process.kill(pid, 'SIGSTOP')
      const startedMs = performance.now()
      const { status } = await running
      assert.ok([200, 504].includes(status), `${who} stopped: ${status}`)
      assert.ok(
        performance.now() - startedMs < 5_000,
        `${who} stopped: an answer after ${performance.now() - startedMs} ms`,
      )
      const next = await invoke(platform, 'stopped', { ms: 0 })
      assert.ok([200, 504].includes(next.status), `after a stopped ${who}: ${next.status} ${next.body.toString()}`)
      assert.equal((await invoke(platform, 'stopped', { ms: 0 })).status, 200, `second call after a stopped ${who}`)
    }
    await untilHeld(platform, held)
  },
)

/** The supervisor is a fork of the launcher. */
function isGuest(pid: number): boolean {
  return readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('hearth-guest')
}

/** Whether the process is in a sandbox whose code holds `text`. */
function isServing(pid: number, text: string): boolean {
  try {
    return readFileSync(path.join(`/proc/${pid}/root`, 'var/task/index.js'), 'utf8').includes(text)
  } catch {
    return false
  }
}

seededTest(
  'clients that cut their connection anywhere in request or reply leave no slot, no Instance and no descriptor',
  async (random) => {
    await deployFiles(
      platform,
      node(
        'cut',
        "exports.handler = async ({ ms, bytes }) => { await new Promise((r) => setTimeout(r, ms)); return 'x'.repeat(bytes) }\n",
      ),
    )
    const held = await heldAtRest(platform)
    const one = async (): Promise<void> => {
      const body = JSON.stringify({
        ms: random.below(30),
        bytes: random.below(2_000_000),
        pad: 'p'.repeat(random.below(500_000)),
      })
      const head = `POST /v1/functions/cut/invoke HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${platform.apiKey}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`
      const bytes = Buffer.from(head + body)
      const socket = net.connect(Number(new URL(platform.url).port), '127.0.0.1')
      socket.on('error', () => {})
      const isReply = random.next() < 0.5
      socket.write(isReply ? bytes : bytes.subarray(0, random.below(bytes.length)))
      const cutAfter = random.below(200_000)
      let seen = 0
      if (isReply) socket.on('data', (chunk: Buffer) => (seen += chunk.length) > cutAfter && socket.destroy())
      await Promise.race([delay(random.below(60)), new Promise((resolve) => socket.once('close', resolve))])
      if (random.next() < 0.5) socket.resetAndDestroy()
      else socket.destroy()
    }
    for (let round = 0; round < 20; round++) await Promise.all(Array.from({ length: 20 }, one))
    const reply = await invoke(platform, 'cut', { ms: 0, bytes: 3 })
    assert.equal(reply.body.toString(), '"xxx"')
    await untilHeld(platform, held)
    const text = (await call(platform, 'GET', '/metrics')).body.toString()
    assert.match(text, /^hearth_invocations_running\{[^}]*function="cut"[^}]*\} 0$/m)
    assert.match(text, /^hearth_invocations_queued\{[^}]*function="cut"[^}]*\} 0$/m)
  },
)

seededTest(
  'a guest that writes frames of its own into its channel is killed or ignored; the platform stays as it was',
  async (random) => {
    // The runtime's channel is fd 3; what the user's code writes there comes between the runtime's own frames.
    await deployFiles(
      platform,
      node(
        'liar',
        "exports.handler = async ({ hex }) => { if (hex) require('node:fs').writeSync(3, Buffer.from(hex, 'hex')); return 'told' }\n",
      ),
    )
    const held = await heldAtRest(platform)
    const outcomes = new Map<string, number>()
    for (let round = 0; round < 150; round++) {
      const reply = await invoke(platform, 'liar', { hex: lie(random).toString('hex') })
      const outcome = reply.headers.get('hearth-outcome') ?? `${reply.status}`
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      assert.ok([200, 502, 504].includes(reply.status), `${reply.status} ${reply.body.toString()}`)
      const honest = await invoke(platform, 'liar', {})
      assert.ok([200, 502, 503, 504].includes(honest.status), `after a lie: ${honest.status} ${honest.body.toString()}`)
    }
    assert.ok((outcomes.get('crashed') ?? 0) > 0, JSON.stringify([...outcomes]))
    await untilHeld(platform, held)
    const reply = await invoke(platform, 'liar', {})
    assert.equal(reply.body.toString(), '"told"')
  },
)

/** One to four frames with a plausible header, or noise. */
function lie(random: { below(n: number): number; bytes(n: number): Buffer; next(): number }): Buffer {
  if (random.next() < 0.2) return random.bytes(1 + random.below(200))
  return Buffer.concat(
    Array.from({ length: 1 + random.below(4) }, () => {
      const payload = random.next() < 0.3 ? Buffer.from('{"status":200,"headers":[]}') : random.bytes(random.below(64))
      const header = Buffer.alloc(12)
      header.writeUInt8(random.below(24), 0)
      header.writeUInt8(random.below(4), 1)
      header.writeUInt32BE(random.below(8), 4)
      header.writeUInt32BE(random.next() < 0.1 ? 0xffff_ffff : payload.length, 8)
      return Buffer.concat([header, payload])
    }),
  )
}

seededTest(
  '100 deploys at once: each function is there, versions of one function are numbered without a gap',
  async (random) => {
    const code = (n: number): string => `exports.handler = async () => ${n}\n`
    await deployFiles(platform, node('many', code(-1)))
    await Promise.all([
      ...Array.from({ length: 60 }, async (_, n) => deployFiles(platform, node(`at-once-${n}`, code(n)))),
      ...Array.from({ length: 40 }, async (_, n) =>
        updateFiles(platform, { name: 'many', files: { 'index.js': code(n) } }),
      ),
    ])
    const listed = await call(platform, 'GET', '/v1/functions/many/versions?limit=100')
    const versions = listed.json<{ items: { version: number }[] }>().items.map(({ version }) => version)
    assert.deepEqual(
      versions.toSorted((a, b) => a - b),
      Array.from({ length: 41 }, (_, n) => n + 1),
    )
    const answers = new Set<number>()
    for (const version of versions) answers.add((await invoke(platform, `many:${version}`)).json<number>())
    assert.equal(answers.size, 41, 'each version runs code of its own')
    for (let n = 0; n < 10; n++) {
      const which = random.below(60)
      assert.equal((await invoke(platform, `at-once-${which}`)).json<number>(), which)
    }
  },
)
