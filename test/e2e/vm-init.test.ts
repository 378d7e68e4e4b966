import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import path from 'node:path'
import { after, before, describe, test as unlimited, type TestContext } from 'node:test'
import { encodeFrame, FrameType } from '../../src/wire/frame.ts'
import { GuestBench, randomSeed } from '../support/guest-bench.ts'
import { GuestImages } from '../support/guest-images.ts'
import { shelvedKernel, vmObstacle } from '../support/guest-vm.ts'

/* The guest's init in a real VM, emulated: kernel, channels, limits, ends, snapshots. */

const test = (title: string, body: (t: TestContext) => Promise<void>): void =>
  void unlimited(title, { timeout: 180_000 }, body)

const kernel = shelvedKernel()
const obstacle = vmObstacle(kernel)

const nodeCode = {
  'index.js': `
    const crypto = require('node:crypto')
    const fs = require('node:fs')
    const os = require('node:os')
    const { execFileSync } = require('node:child_process')
    const random = Math.random
    crypto.randomUUID()
    crypto.randomInt(1000)
    const acts = {
      where: () => ({
        hostname: os.hostname(), uid: process.getuid(), gid: process.getgid(), cwd: process.cwd(), now: Date.now(),
        status: fs.readFileSync('/proc/self/status', 'utf8'), mounts: fs.readFileSync('/proc/mounts', 'utf8'),
        cgroup: fs.readFileSync('/proc/self/cgroup', 'utf8').trim(), limits: fs.readFileSync('/proc/self/limits', 'utf8'),
        memoryMax: fs.readFileSync('/sys/fs/cgroup/runtime/memory.max', 'utf8').trim(),
        pidsMax: fs.readFileSync('/sys/fs/cgroup/runtime/pids.max', 'utf8').trim(),
        processes: fs.readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name)).length,
        tmp: fs.statfsSync('/tmp').blocks * fs.statfsSync('/tmp').bsize,
      }),
      self: () => require('node:dns/promises').lookup(os.hostname(), 4),
      echo: ({ text }) => ({ text }),
      print: ({ text }) => { fs.writeSync(1, text); return null },
      flood: ({ lines }) => { for (let at = 0; at < lines; at++) fs.writeSync(2, 'x'.repeat(99) + '\\n'); return null },
      fill: ({ bytes }) => { fs.writeFileSync('/tmp/file', Buffer.alloc(bytes)); return null },
      get: ({ url, ms = 30000 }) => fetch(url, { signal: AbortSignal.timeout(ms) }).then((r) => r.text(), (error) => String(error.cause ?? error)),
      resolver: () => fs.readFileSync('/etc/resolv.conf', 'utf8'),
      write: ({ file }) => { fs.writeFileSync(file, 'x'); return null },
      random: () => ({ random: random(), native: Math.random() }),
      api: () => fetch('http://127.0.0.1:9010').then((r) => r.text(), (error) => String(error.cause ?? error)),
      exit: ({ code }) => { fs.writeSync(1, 'last words'); process.exit(code) },
      killed: () => process.kill(process.pid, 'SIGKILL'),
      eat: () => { const held = []; for (;;) held.push(Buffer.alloc(8 << 20, held.length + 1)) },
      orphan: () => { execFileSync('/bin/sh', ['-c', 'sleep_for() { read line < /dev/zero; }; (exit 0) & (exit 0) &']); return null },
    }
    exports.handler = async (event) => acts[event.act](event)`,
}
const pythonCode = {
  'main.py': `
import os, random, secrets, socket, ssl, tempfile, uuid
uuid.uuid4(); ssl.RAND_bytes(1); tempfile.mktemp()
def handler(event, context):
    return {"hostname": socket.gethostname(), "name": tempfile.mktemp()}
`,
}

describe('the init of a microVM', { skip: obstacle ?? false, timeout: 890_000 }, () => {
  const images = new GuestImages()
  const benches: GuestBench[] = []
  let nodeRoot = ''
  let code = ''
  let nextFile = 0

  /** No event tells when the guest has seen that a host went; a port that changes hands within less may not show it at all. */
  const guestNotices = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 300))

  const file = (name: string): string => path.join(images.folder, `${(nextFile += 1)}-${name}`)
  const bench = (options: Partial<GuestBench['options']> = {}): GuestBench => {
    const made = new GuestBench({
      kernel: kernel ?? { vmlinux: '', initramfs: null },
      root: nodeRoot,
      code,
      memoryMib: 288,
      memoryFile: file('ram'),
      argv: ['/usr/bin/node', '/var/runtime/bootstrap.cjs'],
      hostname: 'vm-one',
      ...options,
    })
    benches.push(made)
    return made
  }

  before(() => {
    nodeRoot = images.root('node')
    code = images.code('code', nodeCode)
  })
  after(async () => {
    for (const made of benches) await made.kill()
    images.remove()
  })

  describe('in one VM, from HELLO to exit', () => {
    let vm: GuestBench
    before(() => {
      vm = bench()
    })

    test('says HELLO on three channels, and needs some milliseconds of the boot', async (t) => {
      const { init, supervisor, runtime } = await vm.boot()
      assert.deepEqual([init.role, init.epoch, init.pid, init.runtime], ['init', 'boot', 1, 'hearth-guest'])
      assert.deepEqual([supervisor.role, supervisor.epoch], ['supervisor', 'e1'])
      assert.deepEqual([runtime.role, runtime.epoch, runtime.runtime], ['runtime', 'e1', 'node'])
      assert.ok(init.initMs < init.kernelMs, `${init.initMs} ms of init after ${init.kernelMs} ms of kernel`)
      t.diagnostic(`kernel ${init.kernelMs.toFixed(1)} ms, init ${init.initMs.toFixed(1)} ms`)
      t.diagnostic(`runtime up ${(performance.now() - vm.vm.startedAt).toFixed(0)} ms after the start of QEMU`)
    })

    test('BIND mounts the code, and the function finds itself confined', async () => {
      await vm.bind('index.handler')
      const found = await vm.json({ act: 'where' })
      assert.deepEqual(
        [found['hostname'], found['uid'], found['gid'], found['cwd'], found['cgroup']],
        ['vm-one', 1000, 1000, '/var/task', '0::/runtime'],
      )
      assert.deepEqual([found['memoryMax'], found['pidsMax'], found['tmp']], [String(256 << 20), '128', 64 << 20])
      assert.match(String(found['status']), /^NoNewPrivs:\s*1$/m)
      assert.match(String(found['status']), /^CapBnd:\s*0+$/m)
      assert.match(String(found['status']), /^CapEff:\s*0+$/m)
      assert.match(String(found['limits']), /^Max open files\s+65536\s+65536/m)
      const mounts = String(found['mounts'])
      assert.match(mounts, /^\/dev\/vdb \/var\/task erofs ro,nosuid,nodev/m)
      assert.match(mounts, /^\/dev\/root \/ erofs ro|^\/dev\/vda \/ erofs ro/m)
      assert.doesNotMatch(mounts, / \/mnt /)
      assert.equal(found['processes'], 1, 'init and kernel threads are hidden')
      assert.ok(Math.abs(Number(found['now']) - Date.now()) < 20_000)
      for (const place of ['/var/task/x', '/x', '/sys/fs/cgroup/runtime/memory.max', '/proc/sysrq-trigger'])
        await assert.rejects(vm.call({ act: 'write', file: place }), /EROFS|EACCES|EPERM/, place)
    })

    test('raw output comes as LOG, and a PING is answered behind it', async () => {
      await vm.call({ act: 'print', text: 'half a line' })
      await vm.supervisor.ping()
      assert.equal(vm.output, 'half a line')
      vm.output = ''
      await vm.call({ act: 'flood', lines: 20_000 })
      await vm.supervisor.ping()
      assert.equal(vm.output, `${'x'.repeat(99)}\n`.repeat(20_000))
      vm.output = ''
    })

    test('6 MB go in and come out whole', async () => {
      const text = 'abcdefgh'.repeat(750_000)
      const result = await vm.json({ act: 'echo', text })
      assert.ok(result['text'] === text)
    })

    test('a connection to 127.0.0.1:9010 reaches the host', async () => {
      assert.match((await vm.call({ act: 'api' })).toString(), /Expected HTTP|Parse Error|HTTPParserError/)
    })

    test('STATS count memory, processes and /tmp', async () => {
      const before = await vm.init.stats()
      assert.equal(before.tmpBytes, 0)
      await vm.call({ act: 'fill', bytes: 8 << 20 })
      const filled = await vm.init.stats({ resetPeak: true })
      assert.equal(filled.tmpBytes, 8 << 20)
      assert.equal(filled.tmpFull, false)
      assert.ok(filled.memoryBytes >= 8 << 20 && filled.memoryPeakBytes >= filled.memoryBytes)
      assert.ok(filled.cpuMs >= before.cpuMs && filled.pids >= 5 && filled.oomKills === 0)
      await assert.rejects(vm.call({ act: 'fill', bytes: 80 << 20 }), /ENOSPC/)
      assert.equal((await vm.init.stats()).tmpFull, true)
      await vm.call({ act: 'fill', bytes: 0 })
    })

    test('a host that comes back on the supervisor channel is greeted, half a frame of the old one is forgotten, output waits', async () => {
      vm.supervisor.close()
      await guestNotices()
      const rude = await vm.vm.connect('supervisor')
      await once(rude, 'data')
      rude.write(encodeFrame(FrameType.ping, 0, 0, '12345678').subarray(0, 15))
      rude.end()
      await guestNotices()
      vm.output = ''
      await vm.call({ act: 'print', text: 'while you were away' })
      await vm.connectSupervisor('e1')
      await vm.supervisorHello.promise
      await vm.supervisor.ping()
      assert.equal(vm.output, 'while you were away')
    })

    test('a host that breaks the protocol is told so and ignored until it connects anew', async () => {
      vm.supervisor.close()
      await guestNotices()
      const rude = await vm.vm.connect('supervisor')
      await once(rude, 'data')
      rude.write(Buffer.alloc(1000, 0xff))
      const failure = await vm.failure.promise
      assert.deepEqual([failure.phase, failure.errorType], ['channel', 'Guest.request'])
      assert.match(failure.errorMessage, /frame on the channel supervisor broke the rule "type"/)
      rude.destroy()
      await guestNotices()
      await vm.connectSupervisor('e1')
      await vm.supervisorHello.promise
      await vm.supervisor.ping()
    })

    test('a host that comes back on the runtime channel is greeted and served', async () => {
      vm.runtime.close()
      await guestNotices()
      const rude = await vm.vm.connect('runtime')
      rude.write(encodeFrame(FrameType.bind, 0, 0, Buffer.alloc(5_000, 0x20)).subarray(0, 3_000))
      await once(rude, 'data')
      rude.end()
      await guestNotices()
      await vm.connectRuntime('e1')
      await vm.bind('index.handler')
      assert.deepEqual(await vm.json({ act: 'echo', text: 'again' }), { text: 'again' })
    })

    test('a platform that takes over a VM, paused or not, does so by RESUME', async () => {
      await vm.vm.command('stop')
      vm.disconnect()
      await vm.connectInit(true)
      await vm.connectSupervisor('e2')
      const runtime = vm.connectRuntime('e2')
      await vm.vm.command('cont')
      await vm.init.ping()
      const own = { seed: randomSeed(), epoch: 'e2', instance: 'i-1', hostname: 'vm-two', isTakenOver: true }
      await vm.init.resume({ nowMs: Date.now(), ...own })
      await vm.supervisorHello.promise
      await runtime
      await vm.bind('index.handler')
      assert.equal((await vm.json({ act: 'where' }))['hostname'], 'vm-two')
      assert.deepEqual(await vm.json({ act: 'self' }), { address: '127.0.0.1', family: 4 })
    })

    test('after a pause the clock is set by RESUME', async () => {
      await vm.vm.command('stop')
      await new Promise((resolve) => setTimeout(resolve, 1_500))
      await vm.vm.command('cont')
      await vm.init.syncClock()
      const [from, { nowMs }, to] = [Date.now(), await vm.json({}, 'identity'), Date.now()]
      assert.ok(Number(nowMs) > from - 50 && Number(nowMs) < to + 50, `${Number(nowMs) - from} ms off`)
    })

    test('orphans are reaped', async () => {
      await vm.call({ act: 'orphan' })
      const { processes } = await vm.json({ act: 'where' })
      assert.equal(processes, 1)
    })

    test('exit 7 is told, last words come, and the VM powers itself off', async () => {
      vm.output = ''
      await assert.rejects(vm.call({ act: 'exit', code: 7 }))
      const exit = await vm.exit.promise
      assert.deepEqual([exit.code, exit.signal, exit.oom], [7, null, false])
      await vm.written('last words')
      const toldAt = performance.now()
      assert.equal(await vm.vm.exited, 0)
      assert.ok(performance.now() - toldAt < 900, 'it waited for an answer that had come')
    })
  })

  test('memory that runs out kills the runtime, and init is there to say so', async () => {
    const vm = bench({ memoryMib: 160 })
    await vm.boot()
    await vm.bind('index.handler')
    await assert.rejects(vm.call({ act: 'eat' }))
    const exit = await vm.exit.promise
    assert.deepEqual([exit.code, exit.signal, exit.oom], [null, 'SIGKILL', true])
    assert.match(exit.errorMessage, /ran out of memory/)
    assert.equal(await vm.vm.exited, 0)
  })

  test('a runtime that is killed is told as such', async () => {
    const vm = bench()
    await vm.boot()
    await vm.bind('index.handler')
    await assert.rejects(vm.call({ act: 'killed' }))
    const exit = await vm.exit.promise
    assert.deepEqual([exit.code, exit.signal, exit.oom], [null, 'SIGKILL', false])
    assert.equal(await vm.vm.exited, 0)
  })

  test('what cannot be started or bound is told by its step', async () => {
    const vm = bench({ code: images.code('empty', { x: '' }).replace('empty.erofs', 'code-tree/task/index.js') })
    await vm.connectInit()
    await vm.initHello.promise
    await assert.rejects(
      vm.init.bind({ hasCode: true, rootUser: null, memoryMib: 64, tmpMib: 1, pidsMax: 9, network: null }),
      (error: unknown) =>
        error instanceof Error && /could not bind: Cannot mount "\/dev\/vdb" at "\/mnt"/.test(error.message),
    )
    const network = { address: '100.64.0.2', gateway: '100.64.0.1', nameServer: '100.64.0.1' }
    await assert.rejects(
      vm.init.bind({ hasCode: false, rootUser: null, memoryMib: 64, tmpMib: 1, pidsMax: 9, network }),
      /Cannot give eth0 the address 100\.64\.0\.2: No such device/,
    )
    vm.init.configure(vm.configuration({ argv: ['/usr/bin/nothing'] }))
    const failure = await vm.failure.promise
    assert.deepEqual([failure.phase, failure.errorType], ['configure', 'Guest.exec'])
    assert.match(failure.errorMessage, /step "exec" failed: No such file or directory/)
    assert.equal(await vm.vm.exited, 0)
  })

  test('BIND gives eth0 an address, takes it away, and gives another', async (t) => {
    const server = createServer((_request, response) => response.end('from the host')).listen(0, '127.0.0.1')
    t.after(() => {
      server.closeAllConnections()
      server.close()
    })
    await once(server, 'listening')
    const address = server.address()
    assert.ok(typeof address === 'object' && address !== null)
    const url = `http://10.0.2.2:${address.port}/`
    const vm = bench({ hasNetwork: true })
    await vm.boot()
    const network = { address: '10.0.2.15', gateway: '10.0.2.2', nameServer: '10.0.2.3' }
    await vm.bind('index.handler', {}, network)
    assert.equal(JSON.parse((await vm.call({ act: 'get', url })).toString()), 'from the host')
    assert.equal(JSON.parse((await vm.call({ act: 'resolver' })).toString()), 'nameserver 10.0.2.3\n')
    assert.deepEqual((await vm.json({}, 'identity'))['addresses'], ['10.0.2.15'])
    const bindNetwork = async (to: typeof network | null): Promise<unknown> =>
      vm.init.bind({ hasCode: true, rootUser: null, memoryMib: 256, tmpMib: 64, pidsMax: 128, network: to })
    await bindNetwork(null)
    assert.deepEqual((await vm.json({}, 'identity'))['addresses'], [])
    assert.match(
      (await vm.call({ act: 'get', url, ms: 2000 })).toString(),
      /ENETUNREACH|other side closed|Timeout|ECONN|aborted/,
    )
    await bindNetwork({ ...network, address: '10.0.2.16' })
    assert.deepEqual((await vm.json({}, 'identity'))['addresses'], ['10.0.2.16'])
    assert.equal(JSON.parse((await vm.call({ act: 'get', url })).toString()), 'from the host')
  })

  test('SHUTDOWN ends a runtime within its grace and powers off', async () => {
    const vm = bench()
    await vm.boot()
    vm.init.shutdown(200)
    const exit = await vm.exit.promise
    assert.equal(exit.signal, 'SIGTERM')
    assert.equal(await vm.vm.exited, 0)
  })

  /** Restores two clones of one snapshot and compares what must differ. */
  async function compareClones(
    saved: GuestBench,
    stateFile: string,
    options: { handler: string; ownValues: readonly string[]; code?: string },
  ): Promise<GuestBench[]> {
    const clones: GuestBench[] = []
    const identities: Record<string, unknown>[] = []
    for (const name of ['clone-a', 'clone-b']) {
      const clone = bench({ ...saved.options, code: options.code ?? saved.options.code, stateFile, hostname: name })
      await clone.restore(stateFile, name)
      await clone.bind(options.handler, { env: { NAME: name } })
      const from = Date.now()
      const identity = await clone.json({}, 'identity')
      const nowMs = Number(identity['nowMs'])
      assert.ok(nowMs > from - 50 && nowMs < Date.now() + 50, `${name} is ${nowMs - from} ms off`)
      assert.equal(identity['hostname'], name)
      clones.push(clone)
      identities.push(identity)
    }
    const [one, two] = identities
    assert.ok(one !== undefined && two !== undefined)
    for (const value of options.ownValues) {
      assert.ok(one[value] !== undefined, value)
      assert.notEqual(one[value], two[value], `${value} is the same in two clones`)
    }
    assert.notDeepEqual(one['env'], two['env'])
    return clones
  }

  const nodeValues = ['randomBytes', 'uuid', 'randomInt', 'mathRandom']

  test('two clones of a loaded Node function differ in all that must be their own', async (t) => {
    const vm = bench()
    await vm.boot()
    await vm.bind('index.handler')
    await vm.json({ act: 'random' })
    await vm.json({}, 'identity')
    const stateFile = file('state')
    await vm.save(stateFile)
    // The clock of a snapshot stands still.
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    const clones = await compareClones(vm, stateFile, { handler: 'index.handler', ownValues: nodeValues })
    const numbers = await Promise.all(clones.map(async (clone) => clone.json({ act: 'random' })))
    assert.notEqual(numbers[0]?.['random'], numbers[1]?.['random'], 'a Math.random that the code kept')
    for (const clone of clones) {
      await clone.call({ act: 'print', text: 'alive' })
      await clone.supervisor.ping()
      assert.equal(clone.output, 'alive')
      t.diagnostic(`clone's life: ${(performance.now() - clone.vm.startedAt).toFixed(0)} ms`)
    }
  })

  test('two clones of a Node runtime take code that was not there before', async () => {
    const placeholder = images.code('placeholder', { x: '' })
    const vm = bench({ code: placeholder })
    await vm.boot()
    const stateFile = file('state')
    await vm.save(stateFile)
    const clones = await compareClones(vm, stateFile, { handler: 'index.handler', ownValues: nodeValues, code })
    for (const clone of clones) assert.deepEqual(await clone.json({ act: 'echo', text: 'hi' }), { text: 'hi' })
  })

  test('a clone whose host connects after it runs is not greeted before RESUME', async () => {
    const vm = bench()
    await vm.boot()
    const stateFile = file('state')
    await vm.save(stateFile)
    const clone = bench({ ...vm.options, stateFile, hostname: 'late' })
    await clone.vm.restore(stateFile)
    await clone.connectInit(true)
    await clone.connectSupervisor('late')
    const runtime = clone.connectRuntime('late')
    await clone.init.ping()
    await clone.init.resume({
      nowMs: Date.now(),
      seed: 'ab'.repeat(32),
      epoch: 'late',
      instance: 'x',
      hostname: 'late',
    })
    await clone.supervisorHello.promise
    await runtime
    await clone.bind('index.handler')
    assert.equal((await clone.json({ act: 'where' }))['hostname'], 'late')
  })

  test('two clones of a loaded Python function differ in all that must be their own', async () => {
    const vm = bench({
      root: images.root('python'),
      code: images.code('python-code', pythonCode),
      argv: ['/usr/bin/python3', '-I', '-S', '/var/runtime/bootstrap.py'],
    })
    const { runtime } = await vm.boot()
    assert.equal(runtime.runtime, 'python')
    await vm.bind('main.handler')
    await vm.json({}, 'identity')
    const stateFile = file('state')
    await vm.save(stateFile)
    const ownValues = ['randomBytes', 'uuid', 'mathRandom', 'random', 'secrets', 'uuid4', 'sslRandom']
    const clones = await compareClones(vm, stateFile, { handler: 'main.handler', ownValues })
    const names = await Promise.all(clones.map(async (clone) => clone.json({})))
    assert.notEqual(names[0]?.['name'], names[1]?.['name'], 'names of temporary files')
  })
})
