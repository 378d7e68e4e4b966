import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { Layout } from '../../src/artifact/layout.ts'
import { call, deployFiles, invoke, upload, zipOf } from '../support/functions.ts'
import { openWorkbench } from '../support/workbench.ts'

/* Built-in storage on the real platform, by the command line and by HTTP. */

const bench = openWorkbench('storage')
const { folder } = bench

const file = (name: string, content: string | Buffer): string => {
  writeFileSync(path.join(folder, name), content)
  return path.join(folder, name)
}
const hexOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const blobOf = (content: Buffer): string => new Layout(bench.platform.data).blob(`sha256:${hexOf(content)}`)
const cli = async (...args: string[]): Promise<string> => {
  const { stdout, stderr, code } = await bench.platform.cli(['storage', ...args])
  assert.equal(code, 0, stderr)
  return stdout
}

test('storage: put, ls, get and rm by the command line, content intact', async () => {
  const content = randomBytes(3_000_000)
  const source = file('photo.bin', content)
  assert.match(await cli('put', source, 's3://pictures/2026/'), /Stored s3:\/\/pictures\/2026\/photo\.bin \(2\.9 MiB\)/)
  assert.match(await cli('ls'), /s3:\/\/pictures/)
  assert.match(await cli('ls', 's3://pictures/2026'), /2026\/photo\.bin {2}2\.9 MiB/)
  const target = path.join(folder, 'back.bin')
  await cli('get', 's3://pictures/2026/photo.bin', target)
  assert.ok(readFileSync(target).equals(content))
  await cli('rm', 's3://pictures/2026/photo.bin')
  assert.doesNotMatch(await cli('ls'), /pictures/)
  const gone = await bench.platform.cli(['storage', 'get', 's3://pictures/2026/photo.bin', target])
  assert.equal(gone.code, 4)
  assert.match(gone.stderr, /There is no bucket "pictures"/)
  assert.ok(readFileSync(target).equals(content))
  assert.ok(!existsSync(blobOf(content)), 'the bytes left the disk with their last name')
})

test('storage: each put is a version; an old one is found by its id until it is deleted', async () => {
  const first = JSON.parse(await cli('put', file('v', 'one'), 's3://versions/v', '--json')) as { versionId: string }
  await cli('put', file('v', 'two'), 's3://versions/v')
  assert.equal(await cli('get', 's3://versions/v', '-'), 'two')
  assert.equal(await cli('get', `s3://versions/v?versionId=${first.versionId}`, '-'), 'one')
  const listed = JSON.parse(await cli('ls', 's3://versions/v', '--versions', '--json')) as { items: unknown[] }
  assert.equal(listed.items.length, 2)
  await cli('rm', `s3://versions/v?versionId=${first.versionId}`)
  assert.equal(await cli('get', 's3://versions/v', '-'), 'two')
  assert.ok(!existsSync(blobOf(Buffer.from('one'))))
})

test('storage: an address never walks out of its bucket, and nothing is touched', async () => {
  const files = { 'index.js': 'exports.handler = async () => "here"' }
  await deployFiles(bench.platform, { name: 'z-js', runtime: 'node', handler: 'index.handler', files })
  await cli('put', file('v', 'one'), 's3://fns/y.zip')
  const target = path.join(folder, 'walked')
  const walks = ['../../functions/z-js', 'x/../y.zip', '..', 'x/./y', 'a//b', 'a/']
  for (const key of walks) {
    const address = `s3://fns/${key}`
    const tries = [
      ['rm', address],
      ['get', address, target],
      ['ls', address, '--versions'],
    ]
    if (key !== 'a/') tries.push(['put', file('v', 'walked'), address])
    for (const args of tries) {
      const { code, stderr } = await bench.platform.cli(['storage', ...args])
      assert.equal(code, 2, `${args.join(' ')}: ${stderr}`)
      assert.ok(stderr.includes(`Invalid key "${key}": must be parts between slashes`), stderr)
    }
  }
  assert.ok(!existsSync(target))
  assert.equal((await invoke(bench.platform, 'z-js')).body.toString(), '"here"')
  assert.equal(await cli('get', 's3://fns/y.zip', '-'), 'one')
  const source = ['--code', 's3://fns/../x.zip', '--runtime', 'node', '--handler', 'index.handler']
  for (const verb of [
    ['create', '--name', 'walker'],
    ['update', 'z-js'],
  ]) {
    const made = await bench.platform.cli(['function', ...verb, ...source])
    assert.equal(made.code, 2)
    assert.match(made.stderr, /Invalid code\.s3 "\.\.\/x\.zip": must be parts between slashes/)
  }
})

test('storage ls: --versions are of an object, not of a bucket', async () => {
  const { code, stderr } = await bench.platform.cli(['storage', 'ls', 's3://fns', '--versions'])
  assert.equal(code, 2)
  assert.match(stderr, /"s3:\/\/fns" is a bucket: --versions shows those of one object, s3:\/\/BUCKET\/KEY/)
})

test('storage: HEAD and GET tell size, etag and version, and nothing a browser would run', async () => {
  const content = Buffer.from('<script>alert(1)</script>')
  const made = (await call(bench.platform, 'PUT', '/v1/storage/web/a%20b/%C3%BC.html', content)).json()
  assert.equal(made['key'], 'a b/\u00FC.html')
  for (const method of ['HEAD', 'GET']) {
    const { status, headers, body } = await call(bench.platform, method, '/v1/storage/web/a%20b/%C3%BC.html')
    assert.equal(status, 200)
    assert.equal(headers.get('content-length'), String(content.length))
    assert.equal(headers.get('etag'), `"${hexOf(content)}"`)
    assert.equal(headers.get('hearth-version-id'), made['versionId'])
    assert.equal(headers.get('content-type'), 'application/octet-stream')
    assert.equal(headers.get('content-disposition'), 'attachment')
    assert.equal(body.length, method === 'HEAD' ? 0 : content.length)
  }
})

const bad: readonly (readonly [string, string, string])[] = [
  ['Bucket', 'key', 'bucket'],
  ['ab', 'key', 'bucket'],
  ['a..b', 'key', 'bucket'],
  ['good', 'a%2F..%2Fb', 'key'],
  ['good', '%2Fabsolute', 'key'],
  ['good', 'a%0Ab', 'key'],
  ['good', 'x'.repeat(1_025), 'key'],
  ['good', '', 'key'],
]
for (const [bucket, key, field] of bad)
  test(`storage: refuses ${bucket}/${key.slice(0, 20)} by field and value`, async () => {
    const reply = await call(bench.platform, 'PUT', `/v1/storage/${bucket}/${key}`, Buffer.from('x'))
    assert.equal(reply.status, 400, reply.body.toString())
    const { error } = reply.json<{ error: Record<string, unknown> }>()
    assert.equal(error['field'], field)
    assert.equal(typeof error['value'], 'string')
  })

test('storage: more than the limit or the disk is refused before the first byte', async () => {
  const headers = { 'content-length': String(6 * 2 ** 30), expect: '100-continue' }
  const { status, text, continued } = await putUnsent('/v1/storage/good/big', headers)
  assert.equal(status, 400)
  assert.match(text, /larger than 5120 MiB, which is the limit\.".*"field":"body"/)
  assert.equal(continued, true)
  assert.deepEqual(readdirSync(path.join(bench.platform.data, 'tmp')), [])
})

/** Announces a body and sends none of it. */
async function putUnsent(
  where: string,
  headers: Record<string, string>,
): Promise<{ status: number; text: string; continued: boolean }> {
  const { request } = await import('node:http')
  return new Promise((resolve, reject) => {
    let continued = false
    const asked = request(`${bench.platform.url}${where}`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${bench.platform.apiKey}`, ...headers },
    })
    asked.on('continue', () => (continued = true))
    asked.on('response', (reply) => {
      let text = ''
      reply.on('data', (chunk: Buffer) => (text += chunk.toString()))
      reply.on('end', () => {
        asked.destroy()
        resolve({ status: reply.statusCode ?? 0, text, continued })
      })
    })
    asked.on('error', reject)
    asked.flushHeaders()
  })
}

test('storage: scopes decide, whether or not the name exists', async () => {
  const made = await call(bench.platform, 'POST', '/v1/keys', { name: 'reader', scopes: ['storage:read'] })
  const reader = { url: bench.platform.url, apiKey: made.json<{ token: string }>().token }
  await call(bench.platform, 'PUT', '/v1/storage/scoped/a', Buffer.from('x'))
  assert.equal((await call(reader, 'GET', '/v1/storage/scoped/a')).status, 200)
  for (const key of ['a', 'absent']) {
    assert.equal((await call(reader, 'PUT', `/v1/storage/scoped/${key}`, Buffer.from('y'))).status, 403)
    assert.equal((await call(reader, 'DELETE', `/v1/storage/scoped/${key}`)).status, 403)
  }
  const other = await call(bench.platform, 'POST', '/v1/keys', { name: 'other', scopes: ['functions:read'] })
  const stranger = { url: bench.platform.url, apiKey: other.json<{ token: string }>().token }
  for (const where of ['', '/scoped', '/scoped/a', '/absent/a'])
    assert.equal((await call(stranger, 'GET', `/v1/storage${where}`)).status, 403)
})

test('storage: bytes that a function runs on, or that were just uploaded, stay when the object goes', async () => {
  const files = { 'index.js': 'exports.handler = async () => "kept"' }
  const zip = await zipOf(files)
  await call(bench.platform, 'PUT', '/v1/storage/shared/code.zip', zip)
  await deployFiles(bench.platform, { name: 'kept', runtime: 'node', handler: 'index.handler', files })
  assert.equal((await call(bench.platform, 'DELETE', '/v1/storage/shared/code.zip')).status, 204)
  assert.ok(existsSync(blobOf(zip)))
  assert.equal((await invoke(bench.platform, 'kept')).body.toString(), '"kept"')

  const fresh = await zipOf({ 'index.js': '// uploaded, not deployed yet' })
  await call(bench.platform, 'PUT', '/v1/storage/shared/fresh.zip', fresh)
  await upload(bench.platform, fresh)
  assert.equal((await call(bench.platform, 'DELETE', '/v1/storage/shared/fresh.zip')).status, 204)
  assert.ok(existsSync(blobOf(fresh)))
})

test('storage: a function from s3:// is pinned: neither a new object nor none changes it', async () => {
  const zip = await zipOf({ 'index.js': 'exports.handler = async () => "from a bucket"' })
  const stored = (await call(bench.platform, 'PUT', '/v1/storage/functions/f.zip', zip)).json()
  const made = ['--name', 'bucket', '--runtime', 'node', '--handler', 'index.handler', '--code', 's3://functions/f.zip']
  const { stderr, code } = await bench.platform.cli(['function', 'create', ...made])
  assert.equal(code, 0, stderr)
  await call(bench.platform, 'PUT', '/v1/storage/functions/f.zip', Buffer.from('no zip at all'))
  assert.equal((await call(bench.platform, 'DELETE', '/v1/storage/functions/f.zip')).status, 204)
  assert.ok(existsSync(blobOf(zip)))
  assert.equal((await invoke(bench.platform, 'bucket')).body.toString(), '"from a bucket"')
  const { codeSource } = (await call(bench.platform, 'GET', '/v1/functions/bucket')).json()
  const { fetchedAt, ...rest } = codeSource as Record<string, unknown>
  assert.equal(typeof fetchedAt, 'number')
  const facts = { etag: hexOf(zip), versionId: stored['versionId'] }
  assert.deepEqual(rest, { kind: 'storage', source: 's3://functions/f.zip', endpoint: null, ...facts })
})

test('storage: what cannot be code from a bucket is told by field, and the function stays as it was', async () => {
  await call(bench.platform, 'PUT', '/v1/storage/functions/text.zip', Buffer.from('no zip at all'))
  const update = async (code: unknown) => call(bench.platform, 'PATCH', '/v1/functions/bucket', { code })
  const rows = [
    [{ s3: 's3://functions/text.zip' }, 400, 'Cannot unpack the archive'],
    [{ s3: 's3://functions/absent.zip' }, 404, 's3://functions/absent.zip'],
    [{ s3: 's3://absent/a.zip' }, 404, 'There is no bucket'],
    [{ s3: 's3://functions/' }, 400, 's3://BUCKET/KEY'],
    [{ s3: 's3://functions/text.zip', sha256: '0'.repeat(64) }, 400, 'code.sha256'],
    [{ s3: 's3://functions/text.zip', secret: 'x' }, 400, 'code.secret'],
    [{ s3: 's3://functions/text.zip', https: 'https://a' }, 400, 'exactly one of'],
    [{ artifact: `sha256:${'0'.repeat(64)}`, sha256: '0'.repeat(64) }, 400, 'code.sha256'],
    [{}, 400, 'exactly one of'],
  ] as const
  for (const [code, status, text] of rows) {
    const reply = await update(code)
    assert.equal(reply.status, status, reply.body.toString())
    assert.ok(reply.body.toString().includes(text), reply.body.toString())
  }
  assert.equal((await call(bench.platform, 'GET', '/v1/functions/bucket')).json()['version'], 1)
  assert.equal((await invoke(bench.platform, 'bucket')).body.toString(), '"from a bucket"')
  const scopes = ['functions:read', 'functions:write']
  const key = (await call(bench.platform, 'POST', '/v1/keys', { name: 'deployer', scopes })).json<{ token: string }>()
  const code = { s3: 's3://functions/text.zip' }
  const deployer = { url: bench.platform.url, apiKey: key.token }
  assert.equal((await call(deployer, 'PATCH', '/v1/functions/bucket', { code })).status, 403)
})

test('storage: puts and deletes of the same bytes at once leave each object whole', async () => {
  const content = randomBytes(200_000)
  const keys = Array.from({ length: 8 }, (_, n) => `k${n}`)
  for (let round = 0; round < 5; round++) {
    await Promise.all(keys.map(async (key) => call(bench.platform, 'PUT', `/v1/storage/race/${key}`, content)))
    const [kept = '', ...doomed] = keys
    const replies = await Promise.all([
      ...doomed.map(async (key) => call(bench.platform, 'DELETE', `/v1/storage/race/${key}`)),
      call(bench.platform, 'PUT', `/v1/storage/race/${kept}`, content),
    ])
    for (const { status, body } of replies) assert.ok(status < 300, body.toString())
    assert.ok((await call(bench.platform, 'GET', `/v1/storage/race/${kept}`)).body.equals(content))
  }
})
