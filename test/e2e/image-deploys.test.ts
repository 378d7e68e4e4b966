import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import http from 'node:http'
import os from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { dockerArchive, listen, serverScript, shellLayer, tarOf, type Entry } from '../support/container-image.ts'
import {
  findDockerRegistry,
  htpasswdAuth,
  startDockerRegistry,
  type DockerRegistry,
} from '../support/docker-registry.ts'
import { call, invoke } from '../support/functions.ts'
import { imageOf, indexOf, pushImage, type TestImage } from '../support/oci-image.ts'
import { startPlatform, type CliResult, type Platform } from '../support/platform.ts'

/* The ways of an image to the platform: from a registry that asks who it is, as a tar, as a folder. */

const found = findDockerRegistry()
const skip = 'missing' in found ? found.missing : false

let folder: string
let registry: DockerRegistry | null = null
let platform: Platform
let auth: ReturnType<typeof htpasswdAuth>

before(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-image-deploys-'))
  auth = htpasswdAuth(folder)
  registry = 'missing' in found ? null : await startDockerRegistry(found.program, auth.section)
  const insecure = registry === null ? [] : ['--insecure-registry', registry.host]
  platform = await startPlatform({ flags: [...insecure, '--source-retry-ms', '2500'] })
})
after(async () => {
  await platform?.stop()
  await registry?.stop()
  await rm(folder, { recursive: true, force: true })
})

/** Answers every request with `text`. */
const serving = (text: string): readonly Entry[] => [
  { name: 'serve.sh', mode: 0o755, content: serverScript(`printf '%s' '${text}'`) },
]

const imageSaying = async (text: string): Promise<TestImage> =>
  imageOf([await tarOf(shellLayer()), await tarOf(serving(text))], { config: { Entrypoint: listen } })

const said = async (name: string): Promise<string> => {
  const reply = await invoke(platform, name)
  assert.equal(reply.status, 200, reply.body.toString())
  return reply.body.toString()
}

async function hearth(...args: readonly string[]): Promise<CliResult> {
  const result = await platform.cli(args)
  assert.equal(result.code, 0, result.stderr)
  return result
}

test(
  'an image from a registry is pinned when it is deployed: tags that move and registries that go change nothing',
  { skip },
  async () => {
    assert.ok(registry !== null)
    const { host, url } = registry
    const at = { url: `${url}/v2/team/site`, headers: auth.headers }
    const first = await imageSaying('first')
    await pushImage(at, 'v1', first)
    assert.equal(
      (await call(platform, 'PUT', '/v1/secrets/registry', { value: `${auth.user}:${auth.password}` })).status,
      200,
    )
    const image = ['--image', `${host}/team/site:v1`]
    const closed = await platform.cli(['function', 'create', '--name', 'site', ...image])
    assert.match(closed.stderr, /does not show it to everybody, or has no such repository \(401\)/)
    const source = [...image, '--code-secret', 'registry']
    assert.match(
      (await hearth('function', 'create', '--name', 'site', ...source)).stdout,
      /Created site version 1 on image/,
    )
    assert.equal(await said('site'), 'first')
    const pinned = `${host}/team/site:v1@${first.manifest.descriptor.digest}`
    const got = (await hearth('function', 'get', 'site')).stdout
    assert.match(got, new RegExp(`from +${pinned} \\(\\d{4}-`))
    assert.match(got, /contract +http|runtime +image/)

    await pushImage(at, 'v1', await imageSaying('second'))
    await hearth('function', 'update', 'site', '--memory', '256')
    assert.equal(await said('site'), 'first')
    await hearth('function', 'update', 'site', ...source)
    assert.equal(await said('site'), 'second')
    // What was fetched before is not fetched again: a registry that lost its blobs has its manifest still.
    const before = { code: { image: `${host}/team/site@${first.manifest.descriptor.digest}`, secret: 'registry' } }
    for (const layer of first.layers) {
      const blob = `${url}/v2/team/site/blobs/${layer.descriptor.digest}`
      assert.equal((await fetch(blob, { method: 'DELETE', headers: auth.headers })).status, 202)
    }
    const back = await call(platform, 'PATCH', '/v1/functions/site', before)
    assert.equal(back.status, 200, back.body.toString())
    assert.equal(await said('site'), 'first')

    await registry.stop()
    const down = await platform.cli(['function', 'update', 'site', ...source])
    assert.match(down.stderr, /the connection is refused \(tried \d+ times.*Versions that are deployed run on/)
    assert.equal(await said('site'), 'first')
  },
)

test('an image from here: a docker-archive, and the folder of a layout, which is the same tar each time', async () => {
  const saved = path.join(folder, 'saved.tar')
  const layers = [shellLayer(), serving('saved')]
  await writeFile(saved, await dockerArchive({ layers, config: { Entrypoint: listen } }))
  await hearth('function', 'create', '--name', 'local', '--image', saved)
  assert.equal(await said('local'), 'saved')
  const lambda = ['--image', saved, '--no-check', '--contract', 'runtime-api', '--handler', 'app.handler']
  await hearth('function', 'create', '--name', 'lambda', ...lambda)
  assert.match((await hearth('function', 'get', 'lambda', '--json')).stdout, /"handler": ?"app\.handler"/)

  const layout = path.join(folder, 'layout')
  const image = await imageSaying('laid out')
  await mkdir(path.join(layout, 'blobs/sha256'), { recursive: true })
  await writeFile(path.join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  await writeFile(path.join(layout, 'index.json'), indexOf([{ blob: image.manifest }]).content)
  const blobs = [image.manifest, image.config, ...image.layers]
  for (const { descriptor, content } of blobs)
    await writeFile(path.join(layout, 'blobs/sha256', descriptor.digest.slice(7)), content)
  await writeFile(path.join(layout, 'blobs/sha256', '0'.repeat(64)), 'left over')
  await hearth('function', 'update', 'local', '--image', layout)
  assert.equal(await said('local'), 'laid out')
  const digest = async (): Promise<unknown> => (await call(platform, 'GET', '/v1/functions/local')).json()['codeDigest']
  const first = await digest()
  await rm(path.join(layout, 'blobs/sha256', '0'.repeat(64)))
  await hearth('function', 'update', 'local', '--image', layout)
  assert.equal(await digest(), first)
  await rm(path.join(layout, 'blobs/sha256', image.config.descriptor.digest.slice(7)))
  const broken = await platform.cli(['function', 'update', 'local', '--image', layout])
  assert.match(broken.stderr, /it has no file blobs\/sha256\//)
})

test('what does not go with an image is refused by name', async () => {
  const refused = async (message: RegExp, ...flags: readonly string[]): Promise<void> => {
    const { code, stderr } = await platform.cli(['function', 'create', '--name', 'no', '--image', 'alpine', ...flags])
    assert.notEqual(code, 0)
    assert.match(stderr, message)
  }
  await refused(/--code does not go with --image/, '--code', '.')
  await refused(/--handler does not go with --image, unless --contract/, '--handler', 'index.handler')
  await refused(/--runtime does not go with --image/, '--runtime', 'node')
  await refused(/--build does not go with --image/, '--build')
  const code = { image: 'alpine', sha256: '0'.repeat(64) }
  const pinned = await call(platform, 'POST', '/v1/functions', { name: 'no', runtime: 'image', code })
  assert.match(pinned.body.toString(), /code\.sha256.*pin it as REPOSITORY@sha256:DIGEST/)
})

test('an upload may be as large as an image when it says that it is one', async () => {
  const announced = async (query: string, bytes: number): Promise<string> =>
    new Promise((resolve, reject) => {
      const url = `${platform.url}/v1/artifacts/${'0'.repeat(64)}${query}`
      const headers = { authorization: `Bearer ${platform.apiKey}`, 'content-length': bytes }
      const request = http.request(url, { method: 'PUT', headers }, (reply) => {
        let text = ''
        reply.on('data', (chunk: Buffer) => (text += chunk.toString()))
        reply.on('end', () => {
          resolve(`${reply.statusCode} ${text}`)
          request.destroy()
        })
      })
      request.on('error', reject)
      request.flushHeaders()
    })
  assert.match(await announced('', 250 * 2 ** 20 + 1), /^400 .*larger than 250 MiB/)
  assert.match(await announced('?kind=image', 2 ** 31 + 1), /^400 .*larger than 2048 MiB/)
  assert.match(await announced('?kind=other', 1), /^400 .*kind/)
})
