import assert from 'node:assert/strict'
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import net from 'node:net'
import path from 'node:path'
import type { Target } from './functions.ts'
import { startPlatform, type Platform, type PlatformOptions } from './platform.ts'

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' })
const fakeInternet = path.join(import.meta.dirname, 'fake-internet.ts')
const namespaceDoor = path.join(import.meta.dirname, 'namespace-door.ts')

/** A machine and an internet of its own, each a network namespace. The platform runs on `host` (203.0.113.1, 2001:db8:1::1); `internet` has a web server
 *  and a name server (fake-internet.ts) at 203.0.113.10, 2001:db8:1::10 and at addresses that functions must not reach, though a route leads there. */
export class ClosedWorld {
  readonly host: string
  readonly #internet: string
  #server: ChildProcess | null = null
  #door: ChildProcess | null = null
  readonly #listeners: net.Server[] = []
  #heard = ''

  constructor(name: string) {
    this.host = `hth-${name}-host-${process.pid}`
    this.#internet = `hth-${name}-inet-${process.pid}`
  }

  async open(): Promise<void> {
    const [host, internet] = [this.host, this.#internet]
    for (const space of [host, internet]) {
      ip('netns', 'add', space)
      this.#in(space, 'ip', 'link', 'set', 'lo', 'up')
    }
    ip('link', 'add', 'up0', 'netns', host, 'type', 'veth', 'peer', 'name', 'up0', 'netns', internet)
    this.#in(host, 'ip', 'addr', 'add', '203.0.113.1/24', 'dev', 'up0')
    this.#in(internet, 'ip', 'addr', 'add', '203.0.113.10/24', 'dev', 'up0')
    this.#in(host, 'ip', 'addr', 'add', '2001:db8:1::1/64', 'dev', 'up0', 'nodad')
    this.#in(internet, 'ip', 'addr', 'add', '2001:db8:1::10/64', 'dev', 'up0', 'nodad')
    for (const address of ['10.9.9.9/32', '169.254.169.254/32', '192.168.7.7/32', 'fd00::7/128'])
      this.#in(internet, 'ip', 'addr', 'add', address, 'dev', 'lo')
    for (const space of [host, internet]) this.#in(space, 'ip', 'link', 'set', 'up0', 'up')
    this.#in(host, 'ip', 'route', 'add', 'default', 'via', '203.0.113.10')
    this.#in(host, 'ip', '-6', 'route', 'add', 'default', 'via', '2001:db8:1::10')
    this.#in(host, 'sysctl', '-qw', 'net.ipv6.conf.all.forwarding=1')
    mkdirSync(`/etc/netns/${host}`, { recursive: true })
    writeFileSync(`/etc/netns/${host}/resolv.conf`, 'nameserver 203.0.113.10\noptions timeout:2 attempts:1\n')
    this.#server = this.#start(internet, fakeInternet)
    this.#server.stdout?.on('data', (text: Buffer) => (this.#heard += text.toString()))
    assert.ok(this.#server.stdout)
    await once(this.#server.stdout, 'data')
  }

  /** Runs a command on the platform's machine. */
  inside(...args: string[]): string {
    return this.#in(this.host, ...args)
  }

  run(side: 'host' | 'internet', ...args: string[]): string {
    return this.#in(side === 'host' ? this.host : this.#internet, ...args)
  }

  /** Every datagram that has come to the internet's port 9, a line each. */
  get heard(): string {
    return this.#heard
  }

  /** Not by `ip netns exec`, which puts a /sys without cgroups in place of the machine's. */
  startPlatform(options: PlatformOptions = {}): Promise<Platform> {
    const own = `/etc/netns/${this.host}/resolv.conf`
    const enter = `mount --bind ${own} /etc/resolv.conf && exec nsenter --net=/run/netns/${this.host} -- "$@"`
    return startPlatform({ ...options, prefix: ['unshare', '--mount', 'sh', '-c', enter, 'sh'] })
  }

  /** `platform`, which listens in another namespace, as seen from here. */
  async reach(platform: Platform, socket: string): Promise<Target> {
    const door = this.#start(this.host, namespaceDoor, socket, new URL(platform.url).port)
    this.#door = door
    assert.ok(door.stdout)
    await once(door.stdout, 'data')
    const listener = net.createServer((near) => {
      const far = net.connect(socket)
      near.pipe(far).pipe(near)
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const)
        one.on('error', () => other.destroy())
    })
    this.#listeners.push(listener)
    listener.listen(0, '127.0.0.1')
    await once(listener, 'listening')
    const address = listener.address()
    assert.ok(typeof address === 'object' && address !== null)
    return { url: `http://127.0.0.1:${address.port}`, apiKey: platform.apiKey }
  }

  close(): void {
    for (const listener of this.#listeners) listener.close()
    this.#door?.kill('SIGKILL')
    this.#server?.kill('SIGKILL')
    for (const space of [this.host, this.#internet]) ip('netns', 'delete', space)
    rmSync(`/etc/netns/${this.host}`, { recursive: true, force: true })
  }

  #in(space: string, ...args: string[]): string {
    return ip('netns', 'exec', space, ...args)
  }

  #start(space: string, ...args: string[]): ChildProcess {
    return spawn('ip', ['netns', 'exec', space, process.execPath, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  }
}
