import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { call, deployFiles, invoke } from '../support/functions.ts'
import { handlers } from '../support/handlers.ts'
import { startPlatform, type Platform } from '../support/platform.ts'
import { vmMissing } from '../support/vm-rig.ts'

/* A platform as it starts by default, with functions that ask for microVMs: real guests, emulated. */

const missing = vmMissing()
const skip = missing === null ? false : missing

interface Receipt {
  readonly attempts: readonly { driver: string; vmm: string | null; snapshot: string | null }[]
  readonly phases: readonly { phase: string; source: string }[]
}

/** No address of a socket has room for it: none depends on where the data folder lies. */
const below = 'as-deep-as-the-data-folders-of-many-people-lie/where-no-address-of-a-socket-has-room-for-all-of-it'

let platform: Platform
before(async () => {
  if (missing === null) platform = await startPlatform({ below })
})
after(async () => {
  if (missing === null) await platform.stop()
})

const receiptOf = async (id: string | null): Promise<Receipt> => {
  const reply = await call(platform, 'GET', `/v1/invocations/${id}`)
  assert.equal(reply.status, 200, reply.body.toString())
  return reply.json<Receipt>()
}

async function create(name: string, config: Record<string, unknown>, code?: string): Promise<void> {
  const { runtime, handler, file, code: usual } = handlers.node
  await deployFiles(platform, { name, runtime, handler, files: { [file]: code ?? usual }, config })
}

test('isolation vm: the receipt names VMM and snapshot, beside a process on the same platform', { skip }, async () => {
  await create('in-vm', { isolation: 'vm', timeoutMs: 60_000 })
  const reply = await invoke(platform, 'in-vm', { do: 'echo', n: 1 })
  assert.equal(reply.status, 200, reply.body.toString())
  assert.deepEqual(reply.json(), { do: 'echo', n: 1 })
  const { attempts, phases } = await receiptOf(reply.headers.get('hearth-invocation-id'))
  assert.equal(attempts[0]?.driver, 'qemu')
  assert.match(attempts[0]?.vmm ?? '', /^qemu \d+\.\d+\.\d+ \((tcg|kvm)\)$/)
  assert.equal(attempts[0]?.snapshot, 'runtime')
  assert.ok(phases.some(({ phase }) => phase === 'restore'))
  assert.ok(
    snapshotKeys().some(({ runtime = '', contract }) => /^node\d+ \d+\./.test(runtime) && contract === 'shim'),
    JSON.stringify(snapshotKeys()),
  )

  await create('in-process', {})
  const beside = await invoke(platform, 'in-process', { do: 'echo' })
  const { attempts: own } = await receiptOf(beside.headers.get('hearth-invocation-id'))
  assert.deepEqual([own[0]?.driver, own[0]?.vmm, own[0]?.snapshot], ['process', null, null])
})

test('isolation vm: paused while idle, and the clock is right after', { skip }, async () => {
  const clock = 'exports.handler = async () => Date.now()'
  await create('clock', { isolation: 'vm', timeoutMs: 60_000, freezeAfterMs: 0 }, clock)
  await invoke(platform, 'clock', {})
  await new Promise((resolve) => void setTimeout(resolve, 1_500))
  const fromMs = Date.now()
  const reply = await invoke(platform, 'clock', {})
  const toMs = Date.now()
  assert.equal(reply.headers.get('hearth-start'), 'warm')
  const guestMs = Number(reply.body.toString())
  assert.ok(guestMs >= fromMs - 50 && guestMs <= toMs + 50, `${guestMs - fromMs} ms after the call began`)
})

test('reuse never: each invocation gets a machine of its own, with randomness of its own', { skip }, async () => {
  const code = "exports.handler = async () => [require('os').hostname(), require('crypto').randomUUID(), Math.random()]"
  await create('fresh', { isolation: 'vm', reuse: 'never', timeoutMs: 120_000, concurrency: 2 }, code)
  const seen = new Set<string>()
  for (let n = 0; n < 6; n++) {
    const reply = await invoke(platform, 'fresh', {})
    assert.equal(reply.status, 200, reply.body.toString())
    for (const value of reply.json<unknown[]>()) seen.add(String(value))
  }
  assert.equal(seen.size, 18)
})

test(
  'snapshot function: module-level code has run once for all clones, secrets come at the start',
  { skip },
  async () => {
    const code = `
const born = Math.random()
exports.handler = async () => [born, process.env.TOKEN]`
    await call(platform, 'PUT', '/v1/secrets/vm-token', { value: 'a-secret-value' })
    const config = { isolation: 'vm', snapshot: 'function', reuse: 'never', secrets: { TOKEN: 'vm-token' } }
    await create('shared', { ...config, timeoutMs: 120_000 }, code)
    const replies = [await invoke(platform, 'shared', {}), await invoke(platform, 'shared', {})]
    const [one, two] = replies.map((reply) => reply.json<[number, string]>())
    assert.equal(one?.[0], two?.[0])
    assert.equal(one?.[1], 'a-secret-value')
    const { attempts } = await receiptOf(replies[0]?.headers.get('hearth-invocation-id') ?? null)
    assert.equal(attempts[0]?.snapshot, 'function')
  },
)

test('delete: the function snapshot and the code image leave the disk', { skip }, async () => {
  const snapshots = (): string[] => readdirSync(path.join(platform.data, 'snapshots'))
  const owners = (): string[] => readdirSync(path.join(platform.data, 'images/code/owners')).map(decodeURIComponent)
  assert.ok(snapshots().some((name) => name.startsWith('function-')))
  assert.ok(owners().includes('default/shared:1'))
  const images = readdirSync(path.join(platform.data, 'images/code')).length
  assert.equal((await call(platform, 'DELETE', '/v1/functions/shared')).status, 204)
  assert.deepEqual(
    snapshots().filter((name) => name.startsWith('function-')),
    [],
  )
  assert.ok(!owners().includes('default/shared:1'))
  assert.equal(readdirSync(path.join(platform.data, 'images/code')).length, images - 1)
})

test('vmPrespawn: a restore takes the VMM that was started ahead, and the receipt says so', { skip }, async () => {
  const config = { isolation: 'vm', snapshot: 'function', reuse: 'never', timeoutMs: 120_000 }
  await create('ahead', config, 'exports.handler = async () => 1')
  const seen: string[] = []
  // One is started between two calls, as soon as nothing else is to be done.
  while (seen.length < 10 && !seen.includes('sandbox pool, restore snapshot')) {
    const reply = await invoke(platform, 'ahead', {})
    assert.equal(
      reply.headers.get('hearth-start'),
      'cold;source=snapshot;cause=' + (seen.length === 0 ? 'first' : 'reuse_never'),
    )
    const { phases } = await receiptOf(reply.headers.get('hearth-invocation-id'))
    const made = phases.filter(({ phase }) => phase === 'sandbox' || phase === 'restore')
    seen.push(made.map(({ phase, source }) => `${phase} ${source}`).join(', '))
  }
  assert.equal(seen.at(-1), 'sandbox pool, restore snapshot', seen.join('; '))
})

test('isolation vm: a guest that uses up its memory is reported as oom', { skip }, async () => {
  await create('greedy', { isolation: 'vm', memoryMib: 128, timeoutMs: 120_000 })
  const reply = await invoke(platform, 'greedy', { do: 'oom' })
  assert.equal(reply.status, 502, reply.body.toString())
  assert.equal(reply.headers.get('hearth-outcome'), 'crashed')
  assert.match(reply.body.toString(), /memory/i)
})

test('stop: no VMM is left', { skip }, async () => {
  assert.equal(await platform.stop(), 0)
  assert.deepEqual(machinesOf(platform.data), [])
  platform = await startPlatform({ below })
})

function snapshotKeys(): readonly Readonly<Record<string, string>>[] {
  const folder = path.join(platform.data, 'snapshots')
  const files = readdirSync(folder).map((name) => path.join(folder, name, 'snapshot.json'))
  return files.filter((file) => existsSync(file)).map((file) => JSON.parse(readFileSync(file, 'utf8')).key)
}

/** VMMs hold descriptors only: which platform they are of shows in the files behind those. */
function machinesOf(data: string): string[] {
  const { stdout } = spawnSync('pgrep', ['-x', 'qemu-system-x86'], { encoding: 'utf8' })
  return stdout
    .trim()
    .split('\n')
    .filter((pid) => filesOf(pid).some((target) => target.startsWith(data)))
}

function filesOf(pid: string): string[] {
  try {
    const folder = `/proc/${pid}/fd`
    return readdirSync(folder).map((name) => readlinkSync(path.join(folder, name)))
  } catch {
    return []
  }
}
