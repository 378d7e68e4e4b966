import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Layout } from '../../src/artifact/layout.ts'
import { call, deployFiles, invoke, updateFiles, upload, zipOf } from '../support/functions.ts'
import { startPlatform, type Platform } from '../support/platform.ts'
import { seededTest, type Random } from '../support/seeded.ts'

/* Disks that fill up, and files that change while nobody looks. */

const isRoot = process.getuid?.() === 0 ? false : 'a small disk is mounted as root'

const chatty = (n: number) => ({
  name: `disk-${n}`,
  runtime: 'node',
  handler: 'index.handler',
  files: {
    'index.js': `exports.handler = async ({ lines = 1 }) => { for (let i = 0; i < lines; i++) console.log('x'.repeat(1000)); return ${n} }\n`,
  },
  config: { memoryMib: 128 },
})

seededTest(
  'a full disk: deploys are refused by name, calls go on, and with room again everything works, also after a restart',
  async (random) => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-disk-'))
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=192m,mode=755', 'hearth-disk', folder])
    const data = path.join(folder, 'data')
    let platform = await startPlatform({ data, keepData: true })
    try {
      await deployFiles(platform, chatty(0))
      assert.equal((await invoke(platform, 'disk-0')).json<number>(), 0)
      const ballast = path.join(folder, 'ballast')
      for (let round = 0; round < 6; round++) {
        fill(folder, ballast, random.below(200_000))
        await checkFull(platform, { round, random })
        await rm(ballast)
      }
      await deployFiles(platform, chatty(100))
      assert.equal((await invoke(platform, 'disk-100')).json<number>(), 100)
      fill(folder, ballast, random.below(50_000))
      await invoke(platform, 'disk-0', { lines: 2_000 })
      await platform.kill9()
      await rm(ballast)
      platform = await startPlatform({ data, keepData: true })
      for (const n of [0, 100]) assert.equal((await invoke(platform, `disk-${n}`)).json<number>(), n)
      assert.deepEqual(readdirSync(path.join(data, 'tmp')), [], 'no draft is left')
    } finally {
      await platform.stop()
      execFileSync('umount', [folder])
      await rm(folder, { recursive: true, force: true })
    }
  },
  { skip: isRoot },
)

/** Leaves about `freeBytes` of the disk. */
function fill(folder: string, ballast: string, freeBytes: number): void {
  const free = Number(execFileSync('df', ['--output=avail', '-B1', folder], { encoding: 'utf8' }).split('\n')[1])
  writeFileSync(ballast, Buffer.alloc(Math.max(0, free - freeBytes)))
}

async function checkFull(platform: Platform, { round, random }: { round: number; random: Random }): Promise<void> {
  // Incompressible, larger than what is free.
  const refused = await deployFiles(platform, {
    ...chatty(round + 1),
    files: { ...chatty(round + 1).files, 'noise.bin': random.bytes(400_000) },
  }).then(
    () => null,
    (error: unknown) => String(error),
  )
  assert.match(refused ?? 'deployed', /: 503 .*"code":"capacity"/s, `a deploy on a full disk, round ${round}`)
  const id = (await invoke(platform, 'disk-0', { lines: 500 })).headers.get('hearth-invocation-id')
  for (let n = 0; n < 20; n++) {
    const reply = await invoke(platform, 'disk-0')
    assert.equal(reply.status, 200, `a call on a full disk, round ${round}: ${reply.body.toString()}`)
  }
  await delay(300)
  for (const url of [`/v1/invocations/${id}`, '/v1/functions/disk-0/logs?tail=10', '/metrics', '/readyz']) {
    const { status, body } = await call(platform, 'GET', url)
    assert.ok([200, 404].includes(status), `${url} on a full disk: ${status} ${body.toString().slice(0, 200)}`)
  }
}

seededTest(
  'files damaged while the platform is down are reported or left out, never served as if whole',
  async (random) => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-damage-'))
    const data = path.join(folder, 'data')
    let platform = await startPlatform({ data, keepData: true })
    await deployFiles(platform, chatty(0))
    for (let n = 0; n < 20; n++) await invoke(platform, 'disk-0')
    const lonely = await zipOf({ 'index.js': 'exports.handler = async () => 1\n', 'noise.bin': random.bytes(5_000) })
    const digest = await upload(platform, lonely)
    await delay(400)
    try {
      for (const [what, harm] of [
        ['receipts', flip],
        ['receipts', cut],
        ['logs', flip],
        ['logs', cut],
      ] as const) {
        await platform.kill9()
        await harm(random.pick(filesBelow(path.join(data, what))), random)
        platform = await startPlatform({ data, keepData: true })
        assert.equal((await invoke(platform, 'disk-0')).json<number>(), 0, `a call after damaged ${what}`)
        for (const url of ['/v1/functions/disk-0/invocations?limit=50', '/v1/functions/disk-0/logs?tail=100'])
          assert.equal((await call(platform, 'GET', url)).status, 200, `${url} after damaged ${what}`)
        await delay(300)
      }
      await platform.kill9()
      await flip(new Layout(data).blob(digest), random)
      platform = await startPlatform({ data, keepData: true })
      const refused = await updateFiles(platform, {
        name: 'disk-0',
        files: {},
        config: { code: { artifact: digest } },
      }).then(
        () => 'deployed',
        (error: unknown) => String(error),
      )
      assert.match(refused, /is damaged on disk\. Upload the same bytes again to repair it/)
      assert.equal((await invoke(platform, 'disk-0')).json<number>(), 0)
      await upload(platform, lonely)
      await updateFiles(platform, { name: 'disk-0', files: {}, config: { code: { artifact: digest } } })
      await platform.kill9()
      const database = path.join(data, 'hearth.db')
      const whole = readFileSync(database)
      for (const name of ['hearth.db-wal', 'hearth.db-shm'])
        if (existsSync(path.join(data, name))) await rm(path.join(data, name))
      await writeFile(database, Buffer.concat([whole.subarray(0, 4096), random.bytes(whole.length - 4096)]))
      await assert.rejects(startPlatform({ data, keepData: true }), /damaged/)
      assert.equal(statSync(database).size, whole.length, 'a damaged database stays as it is')
    } finally {
      await platform.stop()
      await rm(folder, { recursive: true, force: true })
    }
  },
)

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
}

/** Other bytes in the middle. */
async function flip(file: string, random: Random): Promise<void> {
  const bytes = readFileSync(file)
  const at = random.below(Math.max(1, bytes.length - 16))
  random.bytes(Math.min(16, bytes.length)).copy(bytes, at)
  await writeFile(file, bytes)
}

/** Ends in the middle of a line, as after a power cut. */
async function cut(file: string, random: Random): Promise<void> {
  await truncate(file, random.below(statSync(file).size))
}
