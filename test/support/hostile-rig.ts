import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { TestContext } from 'node:test'
import type { ClosedWorld } from './closed-world.ts'
import { call, deployFiles, invoke, type Reply, type Target } from './functions.ts'
import { makeHostileCache } from './hostile-guest.ts'
import { leftovers } from './leftovers.ts'
import { startPlatform, type Platform } from './platform.ts'

/** What a neighbour's call may take while somebody else's guest does its worst, on two cores that emulate both. */
const neighbourMsMax = 15_000

/** In a microVM: says what it is asked, and listens on port 7777 of its own network. */
const victimCode = `
const net = require('node:net')
const os = require('node:os')
net.createServer((socket) => socket.on('error', () => {}).end('victim')).listen(7777)
const read = (port, host) => new Promise((resolve) => {
  const socket = net.connect(port, host)
  socket.setTimeout(3000, () => resolve('timeout'))
  socket.on('error', (error) => resolve(error.code))
  socket.on('data', (text) => resolve(String(text)))
})
exports.handler = async ({ port, host }) =>
  host === undefined ? (os.networkInterfaces().eth0?.[0].address ?? 'alone') : read(port, host)`

const besideCode = `exports.handler = async () => 'beside'`

/** A platform with a hostile guest (function by function, `deployAttacker`), a microVM `victim` and a sandboxed process `beside`. */
export class HostileRig {
  readonly platform: Platform
  readonly target: Target
  /** Kernels and images of the machine, the hostile one among them. */
  readonly cache: string
  readonly #folder: string

  private constructor(folder: string, platform: Platform, target: Target) {
    this.#folder = folder
    this.cache = path.join(folder, 'cache')
    this.platform = platform
    this.target = target
  }

  /** In `world` the victim has a way out, and the platform listens on every address of its machine. */
  static async open(world: ClosedWorld | null): Promise<HostileRig> {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-hostile-'))
    await chmod(folder, 0o755)
    const cache = path.join(folder, 'cache')
    await mkdir(cache)
    await makeHostileCache(cache)
    const wide = world === null ? [] : ['--host', '0.0.0.0', '--insecure-listen']
    const flags = ['--cache', cache, '--vm-pool-size', '0', ...wide]
    const options = { data: path.join(folder, 'data'), keepData: true, flags }
    const platform = await (world === null ? startPlatform(options) : world.startPlatform(options))
    const target = world === null ? platform : await world.reach(platform, path.join(folder, 'door'))
    const rig = new HostileRig(folder, platform, target)
    const network = world === null ? 'none' : 'egress'
    const [runtime, handler] = ['node', 'index.handler']
    // One Instance each, so that what the platform holds for them stays the same.
    const one = { concurrency: 1, timeoutMs: 60_000 }
    const vm = { ...one, isolation: 'vm', snapshot: 'none', network, freezeAfterMs: 3_600_000 }
    await deployFiles(target, { name: 'victim', runtime, handler, files: { 'index.js': victimCode }, config: vm })
    await deployFiles(target, { name: 'beside', runtime, handler, files: { 'index.js': besideCode }, config: one })
    await rig.#callNeighbours()
    return rig
  }

  async deployAttacker(name: string, config: Readonly<Record<string, unknown>> = {}): Promise<void> {
    const vm = { isolation: 'vm', snapshot: 'none', timeoutMs: 60_000, freezeAfterMs: 3_600_000, ...config }
    const files = { 'main.py': '# The guest runs its own.' }
    await deployFiles(this.target, { name, runtime: 'python', handler: 'main.handler', files, config: vm })
  }

  /** Runs Python as root in the guest of `name`. */
  attack(name: string, code: string, headers: Record<string, string> = {}): Promise<Reply> {
    return invoke(this.target, name, { code }, headers)
  }

  /** What the code left in `result`. */
  async result(name: string, code: string): Promise<unknown> {
    const reply = await this.attack(name, code)
    assert.equal(reply.status, 200, reply.body.toString())
    const { result, error } = reply.json<{ result?: unknown; error?: string }>()
    assert.equal(error, undefined)
    return result
  }

  /** The function's own log, as its owner reads it. */
  async log(name: string): Promise<string> {
    return (await call(this.target, 'GET', `/v1/functions/${name}/logs?tail=10000`)).body.toString()
  }

  async victim(event: Record<string, unknown> = {}): Promise<string> {
    const reply = await invoke(this.target, 'victim', event)
    assert.equal(reply.status, 200, reply.body.toString())
    return reply.json<string>()
  }

  /** Calls the neighbours as long as `attack` goes on, and at least once after it: each answers in time. */
  async contained<T>(t: TestContext, attack: () => Promise<T>): Promise<T> {
    const progress = { isOver: false }
    const work = attack().finally(() => (progress.isOver = true))
    work.catch(() => {}) // Awaited below.
    const taken: number[] = []
    do {
      await delay(20)
      taken.push(await this.#callNeighbours())
    } while (!progress.isOver)
    taken.push(await this.#callNeighbours())
    taken.sort((a, b) => a - b)
    const [worst = 0, median = 0] = [taken.at(-1), taken[taken.length >> 1]]
    t.diagnostic(`neighbours: ${taken.length} rounds, median ${median.toFixed(1)} ms, worst ${worst.toFixed(1)} ms`)
    assert.ok(worst < neighbourMsMax, `a neighbour took ${worst} ms`)
    return work
  }

  async close(): Promise<void> {
    const { platform } = this
    assert.equal(await platform.stop(), 0)
    const left = leftovers(platform.data)
    await rm(this.#folder, { recursive: true, force: true })
    assert.deepEqual(left, [])
  }

  /** How long the slower of them took. */
  async #callNeighbours(): Promise<number> {
    const fromMs = performance.now()
    await Promise.all([
      this.victim(),
      invoke(this.target, 'beside').then((reply) => assert.equal(reply.json<string>(), 'beside')),
      fetch(`${this.target.url}/healthz`).then((reply) => assert.equal(reply.status, 200)),
    ])
    return performance.now() - fromMs
  }
}
