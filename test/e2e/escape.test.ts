import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import net from 'node:net'
import { after, before, test } from 'node:test'
import { deployFiles, invoke, nodeFunction, type Reply } from '../support/functions.ts'
import { limitsMissing } from '../support/launcher.ts'
import { startPlatform, type Platform } from '../support/platform.ts'

/* Each test is an attempt to leave the sandbox, made by user code inside it. All run against one platform;
 * an attempt may kill its own Instance, never the platform or a neighbour. */

let platform: Platform

/** Evaluates Python inside a sandbox; the function returns what `result` holds, or the exception's name and text. */
const pythonProbe = `
import ctypes, errno, json, os, resource, signal, socket, subprocess, sys, time
def handler(event, context):
    scope = {"event": event}
    try:
        exec(event["code"], globals(), scope)
        return {"ok": scope.get("result")}
    except BaseException as error:
        return {"error": type(error).__name__, "errno": getattr(error, "errno", None), "text": str(error)}
`

before(async () => {
  platform = await startPlatform()
  await deployFiles(platform, {
    name: 'probe',
    runtime: 'python',
    handler: 'main.handler',
    files: { 'main.py': pythonProbe },
    config: { timeoutMs: 20_000, memoryMib: 256, ephemeralMib: 64 },
  })
  await deployFiles(platform, nodeFunction('neighbour', "exports.handler = async () => 'neighbour code'\n"))
  assert.equal((await invoke(platform, 'neighbour')).status, 200)
})
after(async () => platform.stop())

async function attempt(code: string): Promise<{ ok?: unknown; error?: string; errno?: number; text?: string }> {
  const reply = await invoke(platform, 'probe', { code })
  assert.equal(reply.headers.get('hearth-outcome'), 'succeeded', reply.body.toString())
  return reply.json()
}

async function denied(
  code: string,
  errors: readonly string[] = ['PermissionError', 'FileNotFoundError', 'OSError', 'ProcessLookupError'],
): Promise<void> {
  const result = await attempt(code)
  assert.ok(
    result.error !== undefined && errors.includes(result.error),
    `must be denied, got ${JSON.stringify(result)}`,
  )
}

test('escape: reading the host shadow file is denied', () => denied('result = open("/etc/shadow").read()'))

test('escape: the data folder, blobs and keys of the platform are not there', async () => {
  await denied(`result = os.listdir(${JSON.stringify(platform.data)})`)
  await denied(`result = open(${JSON.stringify(`${platform.data}/admin.key`)}).read()`)
})

test("escape: no path leads to another function's code", async () => {
  const result = await attempt(
    'result = subprocess.run(["grep", "-rl", "neighbour code", "/", "--exclude-dir=proc", "--exclude-dir=usr"], capture_output=True, text=True).stdout',
  )
  assert.equal(result.ok, '')
})

test("escape: /proc shows only the sandbox's own processes", async () => {
  const { ok } = await attempt('result = [p for p in os.listdir("/proc") if p.isdigit()]')
  assert.ok(Array.isArray(ok) && ok.length <= 4, `sees ${JSON.stringify(ok)}`)
  await denied('result = open("/proc/1/environ").read()')
  await denied('result = os.readlink("/proc/1/root")')
})

test("escape: the launcher's and the agent's sockets cannot be found or reached", async () => {
  const { ok } = await attempt(
    'result = subprocess.run(["find", "/", "-type", "s", "-not", "-path", "/proc/*"], capture_output=True, text=True).stdout',
  )
  assert.equal(ok, '')
  const fds = await attempt('result = sorted(os.listdir("/proc/self/fd"), key=int)')
  assert.ok(Array.isArray(fds.ok) && fds.ok.length <= 6, `inherited ${JSON.stringify(fds.ok)}`)
})

test('escape: a host pid cannot be signalled', () => denied(`os.kill(${process.pid}, 0)\nresult = "signalled"`))

test("escape: PID 1 of the sandbox survives its runtime's signals", async () => {
  for (const signal of ['SIGKILL', 'SIGTERM', 'SIGSTOP', 'SIGSEGV'])
    await attempt(`try:\n    os.kill(1, signal.${signal})\nexcept OSError: pass\nresult = 1`)
  const reply = await invoke(platform, 'probe', { code: 'result = 2' })
  assert.equal(reply.headers.get('hearth-start'), 'warm')
})

const syscall = (number: number, args: string): string => `
libc = ctypes.CDLL(None, use_errno=True)
r = libc.syscall(${number}${args})
if r == -1:
    raise OSError(ctypes.get_errno(), "denied")
result = r`

test('escape: mount is denied', () => denied(syscall(165, ', b"none", b"/tmp", b"tmpfs", 0, 0')))
test('escape: the new mount interface is denied', () => denied(syscall(430, ', b"tmpfs", 0')))
test('escape: pivot_root and chroot are denied', async () => {
  await denied(syscall(155, ', b"/tmp", b"/tmp"'))
  await denied('os.chroot("/tmp")\nresult = "changed"')
})
test('escape: unshare and setns are denied', async () => {
  await denied(syscall(272, ', 0x10000000'))
  await denied(syscall(308, ', 0, 0'))
})
test("escape: ptrace and reading another process's memory are denied", async () => {
  await denied(syscall(101, ', 16, 1, 0, 0'))
  await denied(syscall(101, ', 0, 0, 0, 0'))
  await denied(syscall(310, ', 1, 0, 0, 0, 0, 0'))
})
test('escape: bpf, perf_event_open, keyctl, io_uring and kexec are denied', async () => {
  for (const [number, args] of [
    [321, ', 0, 0, 0'],
    [298, ', 0, 0, -1, -1, 0'],
    [250, ', 0, 0, 0, 0, 0'],
    [425, ', 1, 0'],
    [246, ', 0, 0, 0, 0'],
  ] as const)
    await denied(syscall(number, args))
})
test('escape: raw and packet sockets are denied', async () => {
  await denied('result = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).fileno()')
  await denied('result = socket.socket(socket.AF_PACKET, socket.SOCK_RAW).fileno()')
})
test('escape: the clock cannot be changed', () =>
  denied('time.clock_settime(time.CLOCK_REALTIME, 0)\nresult = "changed"'))
test('escape: neither settimeofday nor clock_adjtime changes it', async () => {
  await denied(syscall(164, ', (ctypes.c_long * 2)(0, 0), 0'))
  // A struct timex whose first word asks for ADJ_SETOFFSET.
  await denied(syscall(305, ', 0, (ctypes.c_long * 32)(0x100)'))
})
test('escape: /dev/kmsg and block devices are absent, and none can be made', async () => {
  await denied('result = os.open("/dev/kmsg", os.O_RDONLY)')
  await denied(syscall(103, ', 3, ctypes.create_string_buffer(100), 100'))
  await denied('os.mknod("/tmp/disk", 0o600 | 0o060000, os.makedev(254, 0))\nresult = "made"')
})
test('escape: setuid back to root is denied', () => denied('os.setuid(0)\nresult = os.getuid()'))
test('escape: no capability, no new privileges, seccomp filter in force', async () => {
  const { ok } = await attempt('result = open("/proc/self/status").read()')
  const status = String(ok)
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
    assert.match(status, new RegExp(`${set}:\\s+0000000000000000`))
  assert.match(status, /NoNewPrivs:\s+1/)
  assert.match(status, /Seccomp:\s+2/)
})
test('escape: root, /usr, /var/task and the runtime are read-only', async () => {
  for (const path of [
    '/hearth',
    '/usr/x',
    '/var/task/x',
    '/var/runtime/x',
    '/etc/x',
    '/opt/x',
    '/proc/sys/kernel/hostname',
  ])
    await denied(`open(${JSON.stringify(path)}, "w").write("x")\nresult = "written"`)
})

test("escape: the host's loopback is another one", async () => {
  const server = net.createServer((socket) => socket.end('host'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  await denied(`s = socket.create_connection(("127.0.0.1", ${port}), 2)\nresult = s.recv(10).decode()`, [
    'ConnectionRefusedError',
    'OSError',
    'TimeoutError',
  ])
  server.close()
})
test("escape: the host's abstract sockets are other ones", async () => {
  const name = `hearth-escape-${process.pid}`
  const server = net.createServer((socket) => socket.end('host'))
  await new Promise<void>((resolve) => server.listen(`\0${name}`, resolve))
  await denied(`s = socket.socket(socket.AF_UNIX)\ns.connect("\\0${name}")\nresult = "connected"`, [
    'ConnectionRefusedError',
    'FileNotFoundError',
  ])
  server.close()
})
test('escape: link-local, metadata and outside addresses are unreachable with network none', async () => {
  for (const host of ['169.254.169.254', '169.254.1.1', '10.0.0.1', '192.0.2.1'])
    await denied(`s = socket.create_connection((${JSON.stringify(host)}, 80), 2)\nresult = "connected"`, [
      'OSError',
      'TimeoutError',
      'ConnectionRefusedError',
    ])
})

test('escape: a fork bomb ends at the pids limit and the platform answers', async () => {
  const config = { memoryMib: 2048, timeoutMs: 20_000 }
  const files = { 'main.py': pythonProbe }
  await deployFiles(platform, { name: 'bomb', runtime: 'python', handler: 'main.handler', files, config })
  const reply = await invoke(platform, 'bomb', { code: forkBomb })
  const { ok } = reply.json<{ ok: number }>()
  assert.ok(ok > 50 && ok < 5000, reply.body.toString())
  assert.equal((await invoke(platform, 'neighbour')).status, 200)
})

/** It reaps what it killed: without root all Instances' processes, the dead among them, count against one limit of the user's. */
const forkBomb = `
n = 0
children = []
try:
    while n < 100000:
        pid = os.fork()
        if pid == 0:
            time.sleep(30)
            os._exit(0)
        children.append(pid)
        n += 1
except OSError as error:
    pass
for pid in children:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
result = n`

test(
  'escape: /tmp and /dev/shm end at their sizes, and /tmp at its number of files',
  { skip: limitsMissing },
  async () => {
    for (const file of ['/tmp/fill', '/dev/shm/fill']) {
      const result = await attempt(`
with open(${JSON.stringify(file)}, "wb") as f:
    for n in range(200):
        f.write(b"x" * 1048576)
        f.flush()
result = "filled"`)
      assert.equal(result.errno, 28, file)
      await attempt(`os.remove(${JSON.stringify(file)})\nresult = 1`)
    }
    const files = await attempt(`
try:
    for n in range(200000): open("/tmp/n%d" % n, "w").close()
finally:
    subprocess.run(["find", "/tmp", "-name", "n*", "-delete"])
result = "made"`)
    assert.equal(files.errno, 28)
  },
)

test('escape: memory ends at the limit, reported as oom', { skip: limitsMissing }, async () => {
  const reply: Reply = await invoke(platform, 'probe', { code: 'x = []\nwhile True: x.append(bytearray(8 * 1048576))' })
  assert.equal(reply.status, 502)
  assert.equal(reply.headers.get('hearth-outcome'), 'crashed')
  const receipt = (await (
    await fetch(`${platform.url}/v1/invocations/${reply.headers.get('hearth-invocation-id')}`, {
      headers: { authorization: `Bearer ${platform.apiKey}` },
    })
  ).json()) as { crashReason: string }
  assert.equal(receipt.crashReason, 'oom')
})

test('escape: a grandchild that keeps stdout open neither delays the answer nor survives the Instance', async () => {
  await deployFiles(platform, {
    name: 'daemon',
    runtime: 'python',
    handler: 'main.handler',
    files: { 'main.py': pythonProbe },
    config: { reuse: 'never', timeoutMs: 20_000 },
  })
  const seconds = `1234.${process.pid}`
  const reply = await invoke(platform, 'daemon', {
    code: `subprocess.Popen(["sleep", "${seconds}"], start_new_session=True)\nresult = 1`,
  })
  assert.equal(reply.status, 200)
  await gone(`sleep\u0000${seconds}`)
})

test('escape: SIGTERM ignored, the timeout still ends it and its children', async () => {
  await deployFiles(platform, {
    name: 'stubborn',
    runtime: 'python',
    handler: 'main.handler',
    files: { 'main.py': pythonProbe },
    config: { timeoutMs: 1_000 },
  })
  const seconds = `4321.${process.pid}`
  const reply = await invoke(platform, 'stubborn', {
    code: `signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsubprocess.Popen(["sleep", "${seconds}"])\ntime.sleep(60)`,
  })
  assert.equal(reply.status, 504, reply.body.toString())
  assert.equal(reply.headers.get('hearth-outcome'), 'timed_out')
  assert.equal(reply.headers.get('hearth-effect'), 'may_have_committed')
  await gone(`sleep\u0000${seconds}`)
})

test('escape: a flood of log output is cut, and neither disk nor memory of the platform grows with it', async () => {
  const rssBefore = await platformRssMib()
  const diskBefore = diskMib(platform.data)
  const reply = await invoke(platform, 'probe', {
    // For 5 s, and on a busy machine until it is a flood at all.
    code: 'b = b"y" * 1048576\nend = time.time() + 5\nn = 0\nwhile n <= 200 or (time.time() < end and n < 10240):\n    os.write(1, b)\n    n += 1\nresult = n',
  })
  assert.equal(reply.status, 200, reply.body.toString())
  const { ok: writtenMib } = reply.json<{ ok: number }>()
  assert.ok(writtenMib > 200, `only ${writtenMib} MiB were tried`)
  const diskAfter = diskMib(platform.data)
  assert.ok(diskAfter - diskBefore < 30, `the data folder grew from ${diskBefore} to ${diskAfter} MiB`)
  const rssAfter = await platformRssMib()
  assert.ok(rssAfter - rssBefore < 100, `platform grew from ${rssBefore} to ${rssAfter} MiB`)
})

function diskMib(folder: string): number {
  return Number(execFileSync('du', ['-sm', folder], { encoding: 'utf8' }).split('\t')[0])
}

async function platformRssMib(): Promise<number> {
  return Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${platform.pid}/status`, 'utf8'))?.[1]) / 1024
}

/** Waits until no process of this machine has `commandLine` in its command line. */
async function gone(commandLine: string): Promise<void> {
  const { readdir } = await import('node:fs/promises')
  for (let tries = 0; tries < 50; tries++) {
    const lines = await Promise.all(
      (await readdir('/proc'))
        .filter((name) => /^\d+$/.test(name))
        .map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
    )
    if (!lines.some((line) => line.includes(commandLine))) return
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  assert.fail(`a process with "${commandLine}" is still there`)
}
