import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { ClosedWorld } from '../support/closed-world.ts'
import { HostileRig } from '../support/hostile-rig.ts'
import { shelvedKernel, vmObstacle } from '../support/guest-vm.ts'
import { pidsOf } from '../support/leftovers.ts'
import { until } from '../support/until.ts'
import { vmMissing } from '../support/vm-rig.ts'

/* A guest that was taken over, as root in its own kernel, on the network: whole Ethernet frames of its own making. The platform listens on every address of
 * its machine, so that the rules alone keep the guest out; what must stay closed is there and answers others. */

const missing = vmMissing() ?? vmObstacle(shelvedKernel())
const skip = missing === null ? false : missing

const world = new ClosedWorld('isolation')
let rig: HostileRig
let victimAddress = ''

before(async () => {
  if (missing !== null) return
  await world.open()
  rig = await HostileRig.open(world)
  await rig.deployAttacker('attacker', { network: 'egress' })
  await rig.deployAttacker('sealed')
  victimAddress = await rig.victim()
})
after(async () => {
  if (missing !== null) return
  await rig?.close()
  const links = (): string => world.inside('ip', '-o', 'link')
  // A VM's interface goes with its network, which the kernel takes down on its own time.
  const areGone = (): true | string => !/hth[0-9a-f]{6}x/.test(links()) || links()
  await until(areGone, { what: 'the interfaces of ended VMs to go' })
  const tables = world.inside('nft', 'list', 'tables')
  world.close()
  assert.doesNotMatch(tables, /hearth-/)
})

const port = (): number => Number(new URL(rig.platform.url).port)
/** Does a program of this machine's own reach it? */
const reaches = (side: 'host' | 'internet', host: string, to: number): string => {
  const script = `require('net').connect(${to}, '${host}').on('connect', () => { console.log('reached'); process.exit() }).on('error', () => process.exit()).setTimeout(2000, () => process.exit())`
  return world.run(side, process.execPath, '-e', script).trim()
}
const answers = async (targets: readonly (readonly [string, number])[]): Promise<string[]> => {
  const list = JSON.stringify(targets)
  const answered = await rig.result('attacker', `result = [address for address, port in ${list} if syn(address, port)]`)
  assert.ok(Array.isArray(answered))
  return answered.map(String)
}

test('network of a hostile guest: its segments reach the internet, under the name of the host', { skip }, async () => {
  assert.deepEqual(await answers([['203.0.113.10', 80]]), ['203.0.113.10'])
  const said = await rig.result('attacker', 'result = connect("203.0.113.10", 80, 3)')
  assert.equal(said, 'reached internet to 203.0.113.1')
})

test('network of a hostile guest: no address of the host answers, nor its control port', { skip }, async () => {
  assert.equal(reaches('internet', '203.0.113.1', port()), 'reached')
  assert.equal(reaches('host', '127.0.0.1', port()), 'reached')
  const gateway = String(await rig.result('attacker', 'result = network["gateway"]'))
  const hosts = ['203.0.113.1', gateway, '127.0.0.1', '127.9.9.9']
  assert.deepEqual(await answers(hosts.map((address) => [address, port()] as const)), [])
})

test('network of a hostile guest: metadata and private addresses do not answer', { skip }, async () => {
  const closed = ['169.254.169.254', '10.9.9.9', '192.168.7.7']
  for (const address of closed) assert.equal(reaches('host', address, 80), 'reached', address)
  assert.deepEqual(await answers(closed.map((address) => [address, 80] as const)), [])
})

test('network of a hostile guest: another VM does not answer, by the gateway or by ARP', { skip }, async () => {
  assert.equal(await rig.victim({ host: victimAddress, port: 7777 }), 'victim')
  assert.deepEqual(await answers([[victimAddress, 7777]]), [])
  const heard = await rig.result(
    'attacker',
    `raw, result = wire(), []
for n in range(5):
    raw.send(arp(1, own_mac(), network["address"], "${victimAddress}"))
    try:
        came = raw.recv(2000)
    except TimeoutError:
        continue
    if came[12:14] == b"\\x08\\x06" and came[28:32] == ipv4("${victimAddress}"):
        result.append(came.hex())`,
  )
  assert.deepEqual(heard, [])
})

test('network of a hostile guest: no IPv6 leaves it', { skip }, async () => {
  const send = `require('dgram').createSocket('udp6').send('from the host', 9, '2001:db8:1::10', () => process.exit())`
  world.run('host', process.execPath, '-e', send)
  await heard('from the host')
  const said = await rig.result(
    'attacker',
    `raw, mac = wire(), gateway_mac()
for target in ("2001:db8:1::10", "2001:db8:1::1", "fd00::7", "fe80::1", "ff02::1"):
    for source in ("2001:db8:1::99", "fe80::99"):
        raw.send(udp6(mac, source, target, b"by IPv6"))
result = [connect(target, 80, 0.3) for target in ("2001:db8:1::10", "fd00::7")]`,
  )
  assert.ok(Array.isArray(said) && said.every((word) => /Error$/.test(String(word))), JSON.stringify(said))
  await rig.result('attacker', `wire().send(udp4(gateway_mac(), network["address"], "203.0.113.10", b"after IPv6"))`)
  await heard('after IPv6')
  assert.doesNotMatch(world.heard, /by IPv6/)
})

test('network of a hostile guest: datagrams under another address go nowhere', { skip }, async () => {
  const gateway = String(await rig.result('attacker', 'result = network["gateway"]'))
  const sources = [victimAddress, gateway, '203.0.113.1', '203.0.113.77', '127.0.0.1', '10.9.9.9', '8.8.8.8']
  await rig.result(
    'attacker',
    `raw, mac = wire(), gateway_mac()
for source in ${JSON.stringify(sources)}:
    for source_mac in (None, mac, os.urandom(5).rjust(6, b"\\x02")):
        raw.send(udp4(mac, source, "203.0.113.10", b"as " + source.encode(), source_mac=source_mac))
raw.send(udp4(mac, network["address"], "203.0.113.10", b"as itself"))`,
  )
  await heard('as itself')
  assert.deepEqual(world.heard.match(/heard as .*/g), ['heard as itself from ::ffff:203.0.113.1'])
})

test("network of a hostile guest: ARP that claims others' addresses changes nothing for them", { skip }, async (t) => {
  const routeOf = (): string => world.inside('ip', 'neigh', 'show', victimAddress)
  await rig.victim({ host: '203.0.113.10', port: 80 })
  const before = routeOf().replace(/(REACHABLE|STALE|DELAY|PROBE)/, '')
  await rig.contained(t, () =>
    rig.result(
      'attacker',
      `raw, mac = wire(), gateway_mac()
for n in range(300):
    for address in ("${victimAddress}", network["gateway"], "203.0.113.10"):
        raw.send(arp(2, own_mac(), address, address))
        raw.send(arp(1, own_mac(), address, network["gateway"]))
        raw.send(arp(2, own_mac(), address, network["gateway"], target_mac=mac, to=mac))`,
    ),
  )
  assert.equal(routeOf().replace(/(REACHABLE|STALE|DELAY|PROBE)/, ''), before)
  assert.equal(await rig.victim({ host: '203.0.113.10', port: 80 }), 'internet to 203.0.113.1')
})

test('network none of a hostile guest: what it sends on its interface reaches nobody', { skip }, async () => {
  const answered = await rig.result(
    'sealed',
    `configure("${victimAddress}", "${victimAddress.replace(/\\.\\d+\\.\\d+$/, '.0.1')}")
raw, result = wire(), []
for target in ("${victimAddress.replace(/\\.\\d+\\.\\d+$/, '.0.1')}", "203.0.113.1", "${victimAddress}"):
    raw.send(arp(1, own_mac(), "${victimAddress}", target))
    raw.send(udp4(b"\\xff" * 6, "${victimAddress}", "203.0.113.10", b"as a sealed one"))
    raw.send(udp6(b"\\x33\\x33" + bytes(3) + b"\\x01", "fe80::1", "ff02::1", b"as a sealed one"))
    try:
        came = raw.recv(2000)
        result += [came.hex()] if came[6:12] != own_mac() else []
    except TimeoutError:
        pass`,
  )
  assert.deepEqual(answered, [])
  assert.equal(await rig.victim({ host: '203.0.113.10', port: 80 }), 'internet to 203.0.113.1')
  assert.doesNotMatch(world.heard, /sealed/)
})

test('network of a hostile guest: floods of made-up senders fill no table of the host', { skip }, async (t) => {
  await rig.contained(t, () =>
    rig.result(
      'attacker',
      `raw, mac = wire(), gateway_mac()
for n in range(1500):
    fake = b"\\x02" + os.urandom(5)
    raw.send(arp(1, fake, f"100.{64 + n % 64}.{n // 250}.{n % 250 + 1}", network["gateway"], source=fake))
    raw.send(arp(1, fake, f"203.0.113.{n % 250 + 2}", network["gateway"], source=fake))
for n in range(4600):
    raw.send(udp4(mac, network["address"], "203.0.113.10", b"", port=10000 + n))
    if n % 100 == 0:
        raw.send(udp4(mac, network["address"], "10.9.9.9", b"", port=10000 + n))`,
    ),
  )
  const neighbours = world.inside('ip', 'neigh').trim().split('\n')
  const learned = forwardingEntries()
  const tracked = Number(world.inside('cat', '/proc/sys/net/netfilter/nf_conntrack_count'))
  t.diagnostic(`${neighbours.length} neighbours, ${learned} bridge entries, ${tracked} tracked connections`)
  assert.ok(neighbours.length <= 20, `${neighbours.length} neighbours on the host`)
  assert.ok(learned <= 60, `${learned} addresses learned by bridges`)
  assert.ok(tracked <= 4_500, `${tracked} connections tracked`)
})

test('network of a hostile guest: as fast as it can send, others are served', { skip }, async (t) => {
  const sent = await rig.contained(t, () =>
    rig.result(
      'attacker',
      `raw, mac, result = wire(), gateway_mac(), 0
packet = udp4(mac, network["address"], "203.0.113.10", b"x" * 1400, port=10)
until = time.monotonic() + 2
while time.monotonic() < until:
    raw.send(packet)
    result += len(packet)`,
    ),
  )
  t.diagnostic(`${(Number(sent) / 2 / 2 ** 20).toFixed(1)} MiB/s left the guest`)
  assert.equal(await rig.victim({ host: '203.0.113.10', port: 80 }), 'internet to 203.0.113.1')
})

const heard = (text: string): Promise<void> =>
  until(() => (world.heard.includes(`heard ${text} `) ? true : world.heard.slice(-500)), {
    what: text,
  })

/** Of the bridges in the networks of all VMs: as many as the guests could make them remember. */
function forwardingEntries(): number {
  const vmms = pidsOf(rig.platform.data).filter((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('qemu'))
  assert.ok(vmms.length >= 2, `${vmms.length} VMs`)
  return vmms
    .map((pid) => execFileSync('nsenter', ['-t', String(pid), '-n', 'bridge', 'fdb', 'show'], { encoding: 'utf8' }))
    .join('')
    .split('\n').length
}
