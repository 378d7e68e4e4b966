import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { ClosedWorld } from '../support/closed-world.ts'
import { type Deployment, type Target } from '../support/functions.ts'
import type { Platform } from '../support/platform.ts'

const world = new ClosedWorld('egress')
const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-egress-'))

let platform: Platform

const python = `
import os, socket
def handler(event, context):
    try:
        if "name" in event:
            return {"addresses": sorted({a[4][0] for a in socket.getaddrinfo(event["name"], 80, proto=socket.IPPROTO_TCP)})}
        family = socket.AF_INET6 if ":" in event["address"] else socket.AF_INET
        s = socket.socket(family, socket.SOCK_STREAM)
        s.settimeout(2)
        s.connect((event["address"], event.get("port", 80)))
        s.sendall(b"hello")
        return {"got": s.recv(100).decode()}
    except OSError as error:
        return {"error": type(error).__name__, "text": str(error)}
`

const skip = process.getuid?.() === 0 ? false : 'network namespaces need root'

before(async () => {
  if (skip !== false) return
  await world.open()
  platform = await world.startPlatform({ data: path.join(folder, 'data') })
  const base = { runtime: 'python', handler: 'main.handler', files: { 'main.py': python } }
  await deployInside({ ...base, name: 'outgoing', config: { network: 'egress', timeoutMs: 15_000 } })
  await deployInside({ ...base, name: 'offline', config: { timeoutMs: 15_000 } })
})

after(async () => {
  if (skip !== false) return
  await platform?.stop()
  world.close()
  rmSync(folder, { recursive: true, force: true })
})

/** The platform listens on the loopback of another namespace: requests go in through `ip netns exec` and the CLI. */
const target = (): Target => ({ url: platform.url, apiKey: platform.apiKey })

async function deployInside(spec: Deployment): Promise<void> {
  runInside('deploy', spec)
}
function runInside(action: 'deploy' | 'invoke', value: unknown): string {
  const script = path.join(import.meta.dirname, '../support/function-call.ts')
  return world.inside(process.execPath, script, action, JSON.stringify({ target: target(), value }))
}
function run(
  name: string,
  event: Record<string, unknown>,
): { got?: string; error?: string; addresses?: string[]; text?: string } {
  return JSON.parse(runInside('invoke', { name, event })) as ReturnType<typeof run>
}

test("egress: the internet is reached, and sees the host's address", { skip }, () => {
  assert.equal(run('outgoing', { address: '203.0.113.10' }).got, 'internet to 203.0.113.1')
})

test('egress: private, link-local and metadata addresses stay closed although a route leads there', { skip }, () => {
  for (const address of ['10.9.9.9', '169.254.169.254', '192.168.7.7'])
    assert.ok(run('outgoing', { address }).error, address)
})

test('egress: the host itself is closed on every address it has', { skip }, () => {
  for (const address of ['203.0.113.1', '100.64.0.1', '127.0.0.1']) {
    const port = Number(new URL(platform.url).port)
    assert.ok(run('outgoing', { address, port }).error, address)
  }
})

test('egress: IPv6 is closed', { skip }, () => {
  for (const address of ['2001:db8::1', 'fe80::1', 'fd00::1']) assert.ok(run('outgoing', { address }).error, address)
})

test('egress: names are resolved by the platform, closed addresses dropped from the answer', { skip }, () => {
  assert.deepEqual(run('outgoing', { name: 'open.example' }).addresses, ['203.0.113.10'])
  assert.deepEqual(run('outgoing', { name: 'mixed.example' }).addresses, ['203.0.113.10'])
  assert.ok(run('outgoing', { name: 'private.example' }).error)
})

test("egress: another name server cannot be asked past the platform's", { skip }, () => {
  assert.notEqual(run('outgoing', { address: '10.9.9.9', port: 53 }).got, 'internet to 203.0.113.1')
})

test('none: neither the internet nor names', { skip }, () => {
  assert.ok(run('offline', { address: '203.0.113.10' }).error)
  assert.ok(run('offline', { name: 'open.example' }).error)
})

test('kill -9 of the launcher leaves no interface and no rules', { skip }, async () => {
  run('outgoing', { address: '203.0.113.10' })
  const ours = /^\d+: hth[0-9a-f]{6}x/m
  assert.match(world.inside('ip', '-o', 'link'), ours)
  assert.match(world.inside('nft', 'list', 'tables'), /hearth-/)
  const launcher = /^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${platform.pid}/status`, 'utf8'))?.[1]
  process.kill(Number(launcher), 'SIGKILL')
  await platform.ended()
  const left = (): string =>
    world
      .inside('ip', '-o', 'link')
      .split('\n')
      .filter((line) => ours.test(line))
      .join('') + world.inside('nft', 'list', 'tables')
  // The kernel takes an interface away a while after its network.
  for (let tries = 0; tries < 100 && left() !== ''; tries++) await new Promise((resolve) => setTimeout(resolve, 100))
  assert.equal(left(), '')
})
