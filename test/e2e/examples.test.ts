import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { busybox, umoci } from '../support/container-image.ts'
import { limitsMissing } from '../support/launcher.ts'
import { toolMissing } from '../../runtimes/support/native.ts'
import { startPlatform, type CliResult, type Platform } from '../support/platform.ts'

/* The examples by the very commands of their READMEs, and the calls that README and the first run print. */

const root = path.resolve(import.meta.dirname, '../..')
let platform: Platform
before(async () => {
  platform = await startPlatform()
})
after(async () => platform.stop())

/** The `sh` blocks of a README, in order. */
function commandsOf(example: string): readonly string[] {
  const text = readFileSync(path.join(root, 'examples', example, 'README.md'), 'utf8')
  return [...text.matchAll(/```sh\n([^]*?)```/g)].map(([, block = '']) => block)
}

async function shell(script: string, tools: readonly string[] = []): Promise<CliResult> {
  const own = { HEARTH_URL: platform.url, HEARTH_API_KEY: platform.apiKey, API_KEY: platform.apiKey }
  const env = { ...process.env, ...own, PATH: [...tools, process.env['PATH']].join(path.delimiter) }
  return new Promise((resolve) => {
    execFile('/bin/sh', ['-c', script], { cwd: root, env, maxBuffer: 16 * 2 ** 20 }, (error, stdout, stderr) =>
      resolve({ stdout, stderr, code: error === null ? 0 : Number(error.code) }),
    )
  })
}

async function walk(example: string): Promise<CliResult> {
  const [deploy = '', call = ''] = commandsOf(example)
  const deployed = await shell(deploy)
  assert.equal(deployed.code, 0, deployed.stderr)
  return shell(call)
}

function isJpeg(base64: string): boolean {
  const bytes = Buffer.from(base64, 'base64')
  return bytes.readUInt16BE(0) === 0xffd8 && bytes.readUInt16BE(bytes.length - 2) === 0xffd9
}

test('examples/process-image: builds Pillow in, answers a thumbnail; curl gives the same as printed', async () => {
  const { code, stdout, stderr } = await walk('process-image')
  assert.equal(code, 0, stderr)
  const image = JSON.parse(stdout) as { width: number; height: number; format: string; data: string }
  assert.deepEqual([image.width, image.height, image.format], [800, 534, 'jpeg'])
  assert.ok(isJpeg(image.data))
  const event = '{"image": "photo.jpg", "width": 200}'
  const curl = `curl -sS -X POST ${platform.url}/v1/functions/process-image/invoke -H "Authorization: Bearer $API_KEY" -H "Content-Type: application/json" -d '${event}'`
  const small = JSON.parse((await shell(curl)).stdout) as { width: number; data: string }
  assert.equal(small.width, 200)
  assert.ok(isJpeg(small.data))
})

test('examples/webhook: a right signature is accepted', async () => {
  const { code, stdout, stderr } = await walk('webhook')
  assert.equal(code, 0, stderr)
  assert.match(stdout, /Taken/)
})

test('examples/word-count: counts, and logs each line', async () => {
  const { code, stdout, stderr } = await walk('word-count')
  assert.equal(code, 0, stderr)
  assert.match(stdout, /10/)
  assert.match((await shell('./bin/hearth function logs word-count')).stdout, /to be or not to be|line/)
})

const ends: readonly (readonly [string, number, RegExp])[] = [
  ['throw', 1, /failed \(TypeError\)/],
  ['timeout', 7, /timed_out/],
  ['oom', 8, /crashed/],
  ['exit', 8, /crashed/],
  ['disk', 1, /failed|crashed/],
]
test('examples/misbehave: ends in five ways, and goes on after each', async (t) => {
  const first = await walk('misbehave')
  assert.equal(first.code, 1, first.stderr)
  for (const [way, code, pattern] of ends)
    await t.test(way, { skip: way === 'oom' && limitsMissing }, async () => {
      const ended = await shell(`./bin/hearth function invoke misbehave --data '{"way":"${way}"}'`)
      assert.match(ended.stderr, pattern)
      assert.ok(ended.code === code || (way === 'disk' && ended.code === 8), `exit code ${ended.code}`)
    })
})

test('examples/hono-api: installed by its lock, at a URL of its own', async () => {
  const [deploy = '', call = ''] = commandsOf('hono-api')
  const deployed = await shell(deploy)
  assert.equal(deployed.code, 0, deployed.stderr)
  assert.match(deployed.stderr, /Inferred --runtime node --handler index\.default from index\.ts/)
  const { code, stdout, stderr } = await shell(call)
  assert.equal(code, 0, stderr)
  assert.equal(stdout, '{"id":1,"text":"buy milk"}data: 1\n\ndata: 2\n\ndata: 3\n\n')
})

for (const [name, inferred, answer] of [
  ['express', "--runtime node --contract http --command 'node server.js'", { sum: 7 }],
  ['fastapi', "--contract http --command 'python3 -m uvicorn main:app", { text: 'Hello, you! Hello, you!' }],
] as const)
  test(`examples/${name}: a server as it is, with what starts it, by one command`, async () => {
    const [deploy = '', call = ''] = commandsOf(name)
    const deployed = await shell(deploy)
    assert.equal(deployed.code, 0, deployed.stderr)
    assert.ok(deployed.stderr.includes(inferred), deployed.stderr)
    const { code, stdout, stderr } = await shell(call)
    assert.equal(code, 0, stderr)
    assert.deepEqual(JSON.parse(stdout), answer)
  })

const needsRoot = process.getuid?.() === 0 ? false : 'builds need root, for a sandbox that shows them a toolchain'

test(
  'examples/webhook-go: built without being told how, checks the signature',
  { skip: needsRoot || toolMissing('go') },
  async () => {
    const { code, stdout, stderr } = await walk('webhook-go')
    assert.equal(code, 0, stderr)
    const { statusCode, body } = JSON.parse(stdout) as { statusCode: number; body: string }
    assert.deepEqual([statusCode, body], [202, '{"message":"Taken: opened."}'])
  },
)

/** 60 crates, compiled for a minute and a half. */
const tooLong =
  process.env['HEARTH_TEST_TIER'] === 'torture' ? false : 'compiles for too long: `npm run torture` runs it'

test(
  'examples/resize-rust: bytes of a photo in, of a smaller one out',
  { skip: needsRoot || toolMissing('cargo') || tooLong },
  async () => {
    const [deploy = '', call = ''] = commandsOf('resize-rust')
    const deployed = await shell(deploy)
    assert.equal(deployed.code, 0, deployed.stderr)
    const { code, stdout, stderr } = await shell(call.replace('> small.jpg', '| base64 -w0'))
    assert.equal(code, 0, stderr)
    assert.ok(isJpeg(stdout))
  },
)

test('examples/go-http: a server of net/http, built', { skip: needsRoot || toolMissing('go') }, async () => {
  const { code, stdout, stderr } = await walk('go-http')
  assert.equal(code, 0, stderr)
  assert.deepEqual(JSON.parse(stdout), { text: 'HELLO' })
})

test('examples/container: an image built here, at a URL of its own', async () => {
  const [deploy = '', call = ''] = commandsOf('container')
  const deployed = await shell(`set -e\n${deploy}`, [busybox(), umoci()].map(path.dirname))
  assert.equal(deployed.code, 0, deployed.stderr)
  const { code, stdout, stderr } = await shell(call)
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^Hello from a container, as user [1-9]\d*, container-1$/m)
})
