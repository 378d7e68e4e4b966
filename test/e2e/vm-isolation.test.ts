import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { after, before, test, type TestContext } from 'node:test'
import { shelvedKernel, vmObstacle } from '../support/guest-vm.ts'
import { HostileRig } from '../support/hostile-rig.ts'
import { heldAtRest, heldBy, pidsOf, untilHeld, type Held } from '../support/leftovers.ts'
import type { Reply } from '../support/functions.ts'
import { until } from '../support/until.ts'
import { vmMissing } from '../support/vm-rig.ts'

/* A guest that was taken over, as root in its own kernel: it uses up what it has, brings its kernel down, and says on its channels what it likes.
 * Each time its own invocation ends with a reason, neighbours are served meanwhile, and nothing of it is left. */

const missing = vmMissing() ?? vmObstacle(shelvedKernel())
const skip = missing === null ? false : missing

/** What the platform may hold on to of 100 MiB and more that a guest sends. */
const growthMibMax = 96

let rig: HostileRig
let atRest: Held

before(async () => {
  if (missing !== null) return
  rig = await HostileRig.open(null)
  await rig.deployAttacker('attacker', { memoryMib: 128 })
  await rig.deployAttacker('horde', { memoryMib: 128, reuse: 'never', concurrency: 4 })
  // What compiles their code at deploy ends by itself.
  await untilVmms(1)
  atRest = await heldAtRest(rig.platform)
})
after(async () => {
  if (missing === null) await rig?.close()
})

const vmms = (): number[] =>
  pidsOf(rig.platform.data).filter(
    (pid) => existsSync(`/proc/${pid}/comm`) && readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('qemu'),
  )
const untilVmms = (count: number): Promise<void> =>
  until(() => vmms().length === count || `${vmms().length} run`, { what: `${count} VMMs` })

interface Ending {
  readonly status: number
  readonly outcome: string
  /** In the reply, and for crashes in the function's log. */
  readonly says: RegExp
}

/** The reply is what it should be, the function's log says so too. */
async function reported(name: string, reply: Reply, { status, outcome, says }: Ending): Promise<void> {
  const text = reply.body.toString()
  assert.deepEqual([reply.status, reply.headers.get('hearth-outcome')], [status, outcome], text)
  assert.match(text, says)
  const id = reply.headers.get('hearth-invocation-id') ?? ''
  const isLogged = async (): Promise<true | string> => {
    const log = await rig.log(name)
    return log.split('\n').some((line) => line.includes(id) && says.test(line)) || log.slice(-500)
  }
  await until(isLogged, { what: `a line about ${id}` })
}

/** One attack in a guest that has answered before; then nothing of that guest is left. */
async function ends(t: TestContext, code: string, ending: Ending, timeoutMs = 20_000): Promise<void> {
  await rig.result('attacker', 'result = "warm"')
  const limit = { 'hearth-timeout-ms': String(timeoutMs) }
  const reply = await rig.contained(t, () => rig.attack('attacker', code, limit))
  await reported('attacker', reply, ending)
  await untilHeld(rig.platform, atRest)
}

const crashed: Ending = { status: 502, outcome: 'crashed', says: /The runtime exited: signal SIGABRT/ }
const timedOut: Ending = { status: 504, outcome: 'timed_out', says: /Task timed out/ }
const breach = (rule: RegExp): Ending => ({ status: 502, outcome: 'crashed', says: rule })

test('a hostile guest is root, and its VMM is nobody: no rights, no files, limits of its own', { skip }, async () => {
  assert.deepEqual(await rig.result('attacker', 'result = [os.getuid(), os.getpid()]'), [0, 1])
  await untilVmms(2)
  const uids = vmms().map((pid) => {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    for (const right of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      assert.match(status, new RegExp(`^${right}:\\s0+$`, 'm'))
    assert.match(status, /^NoNewPrivs:\s1$/m)
    assert.match(status, /^Seccomp:\s2$/m)
    assert.match(status, /^Groups:\s*$/m)
    for (const space of ['net', 'mnt', 'pid', 'ipc'])
      assert.notEqual(readlinkSync(`/proc/${pid}/ns/${space}`), readlinkSync(`/proc/self/ns/${space}`), space)
    const root = path.join('/proc', String(pid), 'root')
    for (const name of ['home', 'root', 'var', 'tmp', 'sys'])
      assert.deepEqual(readdirIn(path.join(root, name)), [], name)
    assert.deepEqual(readdirIn(path.join(root, 'etc')), ['ld.so.cache'])
    assert.ok(limitOf(pid, 'pids', ['pids.max']) <= 64)
    assert.ok(limitOf(pid, 'memory', ['memory.max', 'memory.limit_in_bytes']) <= (256 + 32 + 384) << 20)
    return /^Uid:\s(\d+)/m.exec(status)?.[1]
  })
  assert.ok(uids[0] !== uids[1] && !uids.includes('0') && !uids.includes(String(process.getuid?.())), uids.join())
})

test('a hostile guest that brings its kernel down crashes alone', { skip }, async (t) => {
  await ends(t, 'open("/proc/sysrq-trigger", "w").write("c")', crashed)
  await ends(t, 'os._exit(0)', crashed)
  await ends(t, 'libc.reboot(0x01234567)', crashed)
})

test('a hostile guest that takes all memory gets its own alone', { skip }, async (t) => {
  const code = `held = []
libc.mlockall(3)
while True:
    held.append(os.urandom(4096) * 1024)`
  await ends(t, code, crashed)
})

test('a hostile guest that forks without end times out, and stays one VMM of few threads', { skip }, async (t) => {
  const code = `while True:
    try:
        os.fork()
    except OSError:
        pass`
  const tasks: number[] = []
  const watch = setInterval(() => tasks.push(vmmTasks()), 100)
  await ends(t, code, timedOut, 2_500).finally(() => clearInterval(watch))
  t.diagnostic(`at most ${Math.max(...tasks)} threads of VMMs`)
  assert.ok(Math.max(...tasks) <= 64)
})

test('a hostile guest changes no image, though it makes its disks writable', { skip }, async () => {
  const images = path.join(rig.cache, 'runtimes')
  const digests = (): string[] =>
    readdirSync(images)
      .filter((name) => name.endsWith('.erofs'))
      .map((name) =>
        createHash('sha256')
          .update(readFileSync(path.join(images, name)))
          .digest('hex'),
      )
  const before = digests()
  const done = await rig.result(
    'attacker',
    `result = []
for disk in ("/dev/vda", "/dev/vdb"):
    for flags in (os.O_RDWR, os.O_RDWR | os.O_DIRECT):
        try:
            fd = os.open(disk, os.O_RDONLY)
            fcntl.ioctl(fd, 0x125D, struct.pack("i", 0))
            fd = os.open(disk, flags)
            os.write(fd, bytes(4096))
            os.fsync(fd)
            result.append(disk)
        except OSError as error:
            pass`,
  )
  assert.deepEqual(done, [])
  assert.deepEqual(digests(), before)
})

test('a hostile guest that pokes every port and device of its machine hurts that alone', { skip }, async (t) => {
  await rig.result('attacker', 'result = 1')
  const code = `import mmap, random
random.seed(7)
libc.iopl(3)
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex("89fa89f0efc3"))  # mov edx, edi; mov eax, esi; out dx, eax; ret
call = ctypes.CFUNCTYPE(None, ctypes.c_uint, ctypes.c_uint)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
memory = os.open("/dev/mem", os.O_RDWR) if os.path.exists("/dev/mem") else None
result = memory is not None
until = time.monotonic() + 1.5
while time.monotonic() < until:
    port = random.randrange(0x10000)
    if port not in (0x64, 0xCF9):
        call(port, random.getrandbits(32))
    if memory is not None:
        try:
            os.pwrite(memory, random.randbytes(4), 0xFEB00000 + random.randrange(0, 0x3000, 4))
        except OSError:
            memory = None`
  const reply = await rig.contained(t, () => rig.attack('attacker', code, { 'hearth-timeout-ms': '6000' }))
  t.diagnostic(`it ended as ${reply.headers.get('hearth-outcome')}: ${reply.body.toString().slice(0, 100)}`)
  assert.ok([200, 502, 504].includes(reply.status), reply.body.toString())
})

/** What a guest says, and the rule that it breaks. */
const breaches: readonly (readonly [string, RegExp])[] = [
  ['send("runtime", b"\\xff" * 1000)', /guest protocol: Unknown frame type 255/],
  [
    'send("runtime", struct.pack(">BBHII", DATA, 0, 0, stream, 0xFFFFFFFF))',
    /guest protocol: DATA of 4294967295 bytes/,
  ],
  ['say("runtime", FAIL, "no object", FIN, stream)', /guest protocol: FAIL: payload must be a JSON object/],
  ['say("runtime", READY, {"loadMs": 0})', /guest protocol: READY in phase ready/],
  ['send("supervisor", struct.pack(">BBHII", LOG, 1, 0, 0, 65537))', /guest protocol: LOG of 65537 bytes/],
  ['say("supervisor", READY, {"loadMs": 0})', /guest protocol: READY in phase configured/],
  ['send("init", b"\\xff" * 1000)', /guest protocol: PID 1: Unknown frame type 255/],
  ['say("init", RESUMED, {"epoch": "mine"})', /guest protocol: PID 1: RESUMED that was not asked for/],
  ['send("init", struct.pack(">BBHII", FAIL, 0, 0, 0, 1 << 31))', /guest protocol: PID 1: FAIL of 2147483648 bytes/],
]

test(
  'frames of a hostile guest that break a rule end it, on each channel, and the reason is told',
  { skip },
  async (t) => {
    await rig.contained(t, () =>
      Promise.all(
        breaches.map(async ([code, says]) => {
          // It would go on as if nothing had been.
          const reply = await rig.attack('horde', `${code}\ntime.sleep(600)`, { 'hearth-timeout-ms': '60000' })
          await reported('horde', reply, breach(says))
        }),
      ),
    )
    await untilHeld(rig.platform, atRest)
  },
)

test('half a frame of a hostile guest is waited for until the deadline, or ends with it', { skip }, async (t) => {
  const half = 'send("runtime", frame(DATA, FIN, stream, b"x" * 1000)[:500])'
  await ends(t, `${half}\ntime.sleep(600)`, timedOut, 1_500)
  await ends(t, `${half}\nos._exit(0)`, crashed)
})

test('floods of a hostile guest on its channels cost the platform a bounded memory', { skip }, async (t) => {
  const flood = (port: string, frames: string): string => `pid = os.fork()
if pid == 0:
    while True:
        send("${port}", ${frames})
time.sleep(600)`
  const floods = {
    'pings, answers unread': flood('runtime', 'frame(PING, 0, 0, bytes(64)) * 800'),
    'pings to the init link': flood('init', 'frame(PING, 0, 0, bytes(64)) * 800'),
    'opened streams': `n = 2
while True:
    say("runtime", OPEN, {"service": "platform-api"}, 0, n)
    send("runtime", frame(DATA, 0, n, b"GET /" + bytes(4000)))
    n += 2`,
    'lines of output': flood('supervisor', 'frame(LOG, 1, 0, (b"y" * 99 + b"\\\\n") * 600)'),
    'lines of log': flood('runtime', 'frame(LOG, 2, stream, (b"y" * 99 + b"\\\\n") * 600)'),
  }
  const logs = path.join(rig.platform.data, 'logs')
  const fromBytes = bytesBelow(logs)
  const fromMib = heldBy(rig.platform).platformRssMib
  for (const [what, code] of Object.entries(floods)) {
    await rig.result('attacker', 'result = "warm"')
    const reply = await rig.contained(t, () => rig.attack('attacker', code, { 'hearth-timeout-ms': '1200' }))
    const outcome = reply.headers.get('hearth-outcome')
    assert.ok(outcome === 'timed_out' || outcome === 'crashed', `${what}: ${outcome} ${reply.body.toString()}`)
    const grownMib = heldBy(rig.platform).platformRssMib - fromMib
    t.diagnostic(`${what}: ${outcome}, platform grew by ${grownMib.toFixed(0)} MiB in all`)
    assert.ok(grownMib < growthMibMax, `${what}: the platform grew by ${grownMib} MiB`)
    await untilHeld(rig.platform, atRest)
  }
  const loggedMib = (bytesBelow(logs) - fromBytes) / 2 ** 20
  t.diagnostic(`${loggedMib.toFixed(1)} MiB were logged`)
  assert.ok(loggedMib < 32, `${loggedMib} MiB were logged`)
})

test('a hostile guest that answers nothing after a pause times out and goes', { skip }, async () => {
  await rig.deployAttacker('sleeper', { memoryMib: 128, freezeAfterMs: 0 })
  await rig.result('sleeper', 'silent.add("init")')
  // Until it has been paused it serves on. It is asked first what it holds, and does not say: a second passes, in which nothing may be asked of it.
  const isAsleep = async (): Promise<true | string> => {
    await delay(1_200)
    const reply = await rig.attack('sleeper', 'result = 1', { 'hearth-timeout-ms': '1200' })
    if (reply.status === 200) return 'it answers'
    await reported('sleeper', reply, timedOut)
    return true
  }
  await until(isAsleep, { what: 'the pause' })
  await untilHeld(rig.platform, atRest)
})

function readdirIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    // A file, a link, or gone.
    return []
  }
}

function vmmTasks(): number {
  return vmms().reduce((sum, pid) => sum + readdirIn(`/proc/${pid}/task`).length, 0)
}

/** Of the process's cgroup, in either version. */
function limitOf(pid: number, controller: string, names: readonly string[]): number {
  for (const line of readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().split('\n')) {
    const [, controllers = '', ...rest] = line.split(':')
    if (controllers !== '' && !controllers.split(',').includes(controller)) continue
    const folder = path.join('/sys/fs/cgroup', controllers, rest.join(':'))
    for (const name of names)
      if (existsSync(path.join(folder, name))) return Number(readFileSync(path.join(folder, name), 'utf8'))
  }
  return Number.NaN
}

function bytesBelow(folder: string): number {
  if (!existsSync(folder)) return 0
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + readFileSync(path.join(entry.parentPath, entry.name)).length, 0)
}
