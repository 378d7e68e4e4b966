import assert from 'node:assert/strict'
import { test } from 'node:test'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { AppError } from '../../src/domain/error.ts'
import { limits } from '../../src/domain/limits.ts'
import { checkKey } from '../../src/domain/storage.ts'
import { createClient } from './client.ts'
import { routes, type Route } from './contract.ts'
import { HearthError } from './hearth-error.ts'

/** A client whose requests end here: the paths that fetch would have asked for. */
function recorder(url = 'http://platform:8443'): { client: ReturnType<typeof createClient>; asked: string[] } {
  const asked: string[] = []
  const fetch = async (input: string | URL | Request): Promise<Response> => {
    asked.push(new URL(input as string).pathname)
    return new Response('{"items":[]}', { headers: { 'hearth-outcome': 'succeeded' } })
  }
  return { client: createClient({ url, apiKey: 'hth_x', fetch }), asked }
}

const isRefusalOf = (field: string, value: unknown) => (error: unknown) =>
  error instanceof HearthError &&
  error.status === 400 &&
  error.code === 'invalid' &&
  error.field === field &&
  error.value === value &&
  error.message.includes(`Invalid ${field} ${JSON.stringify(value)}: must be `)

const keysThatWalk = ['../../functions/z', '..', '.', 'x/../y.zip', 'x/./y', 'a//b', '/a', 'a/', '../x', 'x/..']

for (const key of keysThatWalk)
  test(`createClient refuses the key ${key} in the words of checkKey, and sends nothing`, async () => {
    const { client, asked } = recorder()
    const words = (() => {
      try {
        return checkKey(key)
      } catch (error) {
        return error instanceof AppError ? error.message : ''
      }
    })()
    const refused = (error: unknown): boolean => isRefusalOf('key', key)(error) && (error as Error).message === words
    await assert.rejects(client.deleteObject({ bucket: 'fns', key }), refused)
    await assert.rejects(client.getObject({ bucket: 'fns', key }), refused)
    await assert.rejects(client.openObject({ bucket: 'fns', key }), refused)
    await assert.rejects(client.putObject({ bucket: 'fns', key, body: new Uint8Array(1) }), refused)
    await assert.rejects(client.listObjectVersions({ bucket: 'fns', key }), refused)
    assert.deepEqual(asked, [])
  })

test('createClient refuses exactly the keys that checkKey refuses, each in its words', async () => {
  const keys = [
    '',
    'a\nb',
    'a\u007Fb',
    '\uD800',
    'x'.repeat(1025),
    '\u00FC'.repeat(600),
    'a',
    'a/..b',
    '...',
    'a\\..\\b',
  ]
  keys.push('%2e%2e/x', '%2e', ' ', 'a b/\u00FC?#&=+%.html', "!'()*~", ';/:@', 'x'.repeat(1024))
  for (const key of keys) {
    const { client, asked } = recorder()
    const expected = await Promise.resolve(key)
      .then(checkKey)
      .catch((error: Error) => error.message)
    const got = await client.deleteObject({ bucket: 'fns', key }).catch((error: Error) => error.message)
    if (expected !== key) assert.deepEqual([got, asked], [expected, []])
    else assert.deepEqual(asked.map(decodeURIComponent), [`/v1/storage/fns/${key}`])
  }
})

const parameters = Object.entries<Route>(routes).flatMap(([id, { path }]) =>
  [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => ({ id, name, path })),
)
const argumentsOf = (path: string): Record<string, string> =>
  Object.fromEntries([...path.matchAll(/\{(\w+)(?:\.{3})?\}/g)].map(([, name = '']) => [name, 'a']))

test('createClient refuses a path parameter of any operation that is a step or nothing', async () => {
  assert.ok(parameters.length > 25)
  for (const { id, name, path } of parameters) {
    for (const value of ['..', '.', '', '\uDC00', undefined, null, {}]) {
      const { client, asked } = recorder()
      const methods = client as unknown as Record<string, (args: Record<string, unknown>) => Promise<unknown>>
      const done =
        id === 'invoke'
          ? client.invoke(value as string, '{}')
          : (methods[id] as (typeof methods)[string])({ ...argumentsOf(path), [name]: value })
      await assert.rejects(done, (error) => error instanceof HearthError && error.field === name, `${id} ${name}`)
      assert.deepEqual(asked, [])
    }
  }
})

test('createClient sends a parameter that only looks like a step as the text it is', async () => {
  for (const name of ['%2e%2e', '.%2E', '..\\..', '...', 'a/../b', '..;']) {
    const { client, asked } = recorder('http://platform:8443/below/')
    await client.getFunction({ name })
    assert.equal(asked.length, 1)
    const [, base, v1, functions, segment = '', ...more] = (asked[0] ?? '').split('/')
    assert.deepEqual([base, v1, functions, more], ['below', 'v1', 'functions', []])
    assert.equal(decodeURIComponent(segment), name)
  }
})

test('createClient: a version is a number in the path', async () => {
  const { client, asked } = recorder()
  await client.deleteLayerVersion({ name: 'a', number: 3 })
  assert.deepEqual(asked, ['/v1/layers/a/versions/3'])
})

test('createClient refuses to follow the logs of a step', async () => {
  const { client, asked } = recorder()
  const lines = client.followLogs('..', { signal: new AbortController().signal })
  await assert.rejects(lines[Symbol.asyncIterator]().next(), isRefusalOf('name', '..'))
  assert.deepEqual(asked, [])
})

test('createClient sends nothing where the address of the platform makes another path of it', async () => {
  for (const end of ['/?to=', '/?', '/#', '#to', '\\', '/below\\']) {
    const { client, asked } = recorder(`http://platform:8443${end}`)
    const refused = isRefusalOf('url', `http://platform:8443${end}`)
    await assert.rejects(client.getFunction({ name: 'a' }), refused)
    await assert.rejects(client.invoke('a', '{}'), refused)
    assert.deepEqual(asked, [])
  }
})

test('invoke: an event over the limit is refused in the words of the platform, and not sent', async () => {
  const { client, asked } = recorder()
  const { payloadBytesMax } = limits
  await client.invoke('f', new Uint8Array(payloadBytesMax))
  assert.equal(asked.length, 1)
  const tooLarge = (error: unknown): boolean =>
    error instanceof HearthError &&
    [error.status, error.code, error.field].join() === '413,invalid,body' &&
    error.message === `The request is larger than ${payloadBytesMax} bytes.`
  await assert.rejects(client.invoke('f', new Uint8Array(payloadBytesMax + 1)), tooLarge)
  await assert.rejects(client.invoke('f', '\u00E9'.repeat(payloadBytesMax / 2 + 1)), tooLarge)
  await assert.rejects(client.invokeStream('f', new Uint8Array(payloadBytesMax + 1)), tooLarge)
  assert.equal(asked.length, 1)
})

test('createClient: a connection that ends while a body is sent is told as a refusal, not as a platform that is away', async () => {
  const server = http.createServer((request) => request.once('data', () => request.socket.resetAndDestroy()))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const body = new Uint8Array(32 * 1024 * 1024)
    await assert.rejects(
      createClient({ url, apiKey: 'hth_x' }).putObject({ bucket: 'b', key: 'k', body }),
      (error: unknown) =>
        error instanceof HearthError &&
        error.code === 'unreachable' &&
        error.field === 'body' &&
        /ended the connection .*while it was sent 32\.0 MiB.* most likely/.test(error.message),
    )
  } finally {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})
