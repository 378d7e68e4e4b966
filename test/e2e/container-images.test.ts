import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { zstdCompressSync } from 'node:zlib'
import {
  dockerArchive,
  listen,
  ociLayout,
  serverScript,
  shellLayer,
  umociLayout,
  type Entry,
  type ImageSpec,
} from '../support/container-image.ts'
import { call, invoke, upload, type Reply } from '../support/functions.ts'
import { startPlatform, type Platform } from '../support/platform.ts'

/* Containers' images as functions, on the real platform: made by umoci from Debian's busybox, and by hand. */

let platform: Platform
let folder: string

before(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-images-'))
  platform = await startPlatform()
})
after(async () => {
  await platform.stop()
  await rm(folder, { recursive: true, force: true })
})

/** Tells what it finds around it. */
const server = serverScript(`
  echo "body $body"
  echo "uid $(id -u), in $(pwd)"
  echo "user $(id -un) of $(id -gn), knows $(grep -c . /etc/passwd) accounts"
  echo "greeting $GREETING, own $OWN, port $PORT"
  echo "root" $(ls /)
  touch /tmp/here && echo "/tmp takes files"
  touch /here 2>&1
  cat /etc/os-release
  grep -qw "$(/bin/busybox hostname)" /etc/hosts && echo "knows its own name"
  for folder in mnt run sys; do [ -e /$folder/of-the-image ] && echo "sees its /$folder"; done
  ls /proc/1/root/ > /dev/null 2>&1 || echo "PID 1 keeps its root"
`)

async function create(name: string, archive: Buffer, config: Readonly<Record<string, unknown>> = {}): Promise<Reply> {
  const artifact = await upload(platform, archive)
  return call(platform, 'POST', '/v1/functions', { name, runtime: 'image', code: { artifact }, ...config })
}

async function answers(name: string, event: unknown = {}): Promise<string> {
  const reply = await invoke(platform, name, event)
  assert.equal(reply.status, 200, reply.body.toString())
  assert.equal(reply.headers.get('hearth-outcome'), 'succeeded', reply.body.toString())
  return reply.body.toString()
}

const shell = shellLayer('cat', 'ls', 'id', 'touch', 'grep')
const serving: ImageSpec = {
  layers: [shell, [{ name: 'serve.sh', mode: 0o755, content: server }]],
  config: { Entrypoint: listen, Env: ['GREETING=by hand'] },
}

test('an image that umoci made serves HTTP from its own root', async () => {
  const entrypoint = listen.flatMap((word) => ['--config.entrypoint', word])
  const layout = await umociLayout(folder, {
    files: { 'serve.sh': server, 'etc/os-release': 'ID=of-the-image\n', 'work/file': '' },
    settings: [
      ...entrypoint,
      '--config.env',
      'GREETING=hello',
      '--config.env',
      'PORT=3000',
      '--config.workingdir',
      '/work',
    ],
  })
  const archive = path.join(folder, 'app.tar')
  await promisify(execFile)('tar', ['-C', layout, '-cf', archive, '.'])
  const made = await create('box', await readFile(archive), { env: { OWN: 'mine' } })
  assert.equal(made.status, 201, made.body.toString())
  const text = await answers('box', { n: 1 })
  assert.match(text, /^body \{"n":1\}$/m)
  assert.match(text, /^uid [1-9]\d*, in \/work$/m)
  assert.match(text, /^greeting hello, own mine, port 8080$/m)
  assert.match(text, /^root bin dev etc mnt proc run serve\.sh sys tmp work$/m)
  assert.match(text, /^\/tmp takes files$/m)
  assert.match(text, /Read-only file system/)
  assert.match(text, /^ID=of-the-image$/m)
  assert.match(text, /^PID 1 keeps its root$/m)
  assert.match(await answers('box', { n: 2 }), /^body \{"n":2\}$/m)
})

test('of the folders that a sandbox has too an image keeps /mnt alone; its WORKDIR is made, and any port may be listened on', async () => {
  const own: readonly Entry[] = ['mnt', 'run', 'sys'].map((name) => ({ name: `${name}/of-the-image`, content: '' }))
  const { layers, config } = serving
  const on80 = listen.map((word) => (word === '8080' ? '80' : word))
  const archive = await ociLayout({
    layers: [...layers, own],
    config: { ...config, Entrypoint: on80, WorkingDir: '/srv/app' },
  })
  const made = await create('on-80', archive, { port: 80 })
  assert.equal(made.status, 201, made.body.toString())
  const text = await answers('on-80')
  assert.match(text, /^uid [1-9]\d*, in \/srv\/app$/m)
  assert.match(text, /port 80$/m)
  assert.match(text, /^knows its own name$/m)
  assert.deepEqual(text.match(/^sees its .*$/gm), ['sees its /mnt'])
})

test('a docker-archive, and layers by zstd: later layers hide and replace what earlier ones have', async () => {
  const lower: readonly Entry[] = [
    { name: 'gone', content: 'lower' },
    { name: 'dir/old', content: 'lower' },
    { name: 'etc/os-release', content: 'ID=lower\n' },
  ]
  const upper: readonly Entry[] = [
    { name: '.wh.gone' },
    { name: 'dir/.wh..wh..opq' },
    { name: 'dir/new', content: 'upper' },
    { name: 'etc/os-release', content: 'ID=upper\n' },
    { name: 'serve.sh', mode: 0o755, content: server.replace('cat /etc/os-release', 'cat /etc/os-release; ls /dir') },
  ]
  const spec = { ...serving, layers: [[...shell, ...lower], upper] }
  for (const [name, archive] of [
    ['saved', await dockerArchive(spec)],
    ['zstd', await ociLayout({ ...spec, compress: (tar) => zstdCompressSync(tar) })],
  ] as const) {
    const made = await create(name, archive)
    assert.equal(made.status, 201, made.body.toString())
    const text = await answers(name)
    assert.match(text, /^root bin dev dir etc mnt proc run serve\.sh sys tmp$/m)
    assert.match(text, /^ID=upper\nnew$/m)
  }
})

test('a program finds itself under the name of its USER, beside the accounts of its image', async () => {
  const accounts: readonly Entry[] = [
    { name: 'etc/passwd', content: 'root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n' },
    { name: 'passwd', content: 'a file of this name at the top is not in the way' },
  ]
  for (const [name, user, expected] of [
    ['by-name', 'www-data:web', 'user www-data of www-data, knows 3 accounts'],
    ['by-uid', '1000:1000', 'user node of node, knows 3 accounts'],
    ['as-root', 'root', 'user function of function, knows 3 accounts'],
  ] as const) {
    const { layers, config } = serving
    const archive = await ociLayout({ layers: [...layers, accounts], config: { ...config, User: user } })
    assert.equal((await create(name, archive)).status, 201)
    assert.ok((await answers(name)).includes(`${expected}\n`), await answers(name))
  }
})

test('an image for the Runtime API: its command may be given, and its handler', async () => {
  const bootstrap = `#!/bin/sh
while :; do
  head="$(/bin/busybox mktemp)"
  event="$(/bin/busybox wget -q -S -O - "http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation/next" 2> "$head")"
  id="$(/bin/busybox awk 'tolower($1) == "lambda-runtime-aws-request-id:" { printf "%s", $2 }' "$head" | /bin/busybox tr -d '\\r')"
  /bin/busybox wget -q -O - --post-data "{\\"event\\":$event,\\"handler\\":\\"$_HANDLER\\",\\"mode\\":\\"$1\\"}" "http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation/$id/response" > /dev/null
done
`
  const spec = {
    layers: [shell, [{ name: 'entry.sh', mode: 0o755, content: bootstrap }]],
    config: { Entrypoint: ['/entry.sh'], Cmd: ['as-built'] },
  }
  const archive = await ociLayout(spec)
  const lambda = { contract: 'runtime-api', handler: 'app.handler' }
  assert.equal((await create('lambda', archive, lambda)).status, 201)
  const built = (await invoke(platform, 'lambda', { a: 1 })).json()
  assert.deepEqual(built, { event: { a: 1 }, handler: 'app.handler', mode: 'as-built' })
  const made = await create('lambda-command', archive, { ...lambda, command: ['/bin/sh', '/entry.sh', 'as-asked'] })
  assert.equal(made.status, 201, made.body.toString())
  assert.deepEqual((await invoke(platform, 'lambda-command', 2)).json(), {
    event: 2,
    handler: 'app.handler',
    mode: 'as-asked',
  })
})

test('what is wrong with an image is said at the deploy, and the version before serves on', async () => {
  assert.equal((await create('steady', await ociLayout(serving))).status, 201)
  const rows: readonly (readonly [string, Buffer, RegExp])[] = [
    ['no command', await ociLayout({ ...serving, config: {} }), /it has neither ENTRYPOINT nor CMD/],
    ['no image', Buffer.from('this is no tar'), /the archive/],
    [
      'another processor',
      await ociLayout({ ...serving, architecture: 'riscv64' }),
      /it is for linux\/riscv64, not linux\//,
    ],
  ]
  for (const [what, archive, says] of rows) {
    const artifact = await upload(platform, archive)
    const refused = await call(platform, 'PATCH', '/v1/functions/steady', { code: { artifact } })
    assert.equal(refused.status, 400, `${what}: ${refused.body.toString()}`)
    assert.match(refused.body.toString(), says, what)
  }
  assert.match(await answers('steady'), /^greeting by hand/m)
})
