import assert from 'node:assert/strict'
import { once } from 'node:events'
import { duplexPair } from 'node:stream'
import { test } from 'node:test'
import { serveRegistryProxy } from './registry-proxy.ts'

for (const head of [
  'CONNECT 169.254.169.254:443 HTTP/1.1',
  'CONNECT github.com:443 HTTP/1.1',
  'CONNECT proxy.golang.org:80 HTTP/1.1',
  'CONNECT proxy.golang.org.evil.example:443 HTTP/1.1',
  'GET http://proxy.golang.org/ HTTP/1.1',
])
  test(`serveRegistryProxy refuses ${head}`, async () => {
    const [client, server] = duplexPair()
    const refused: string[] = []
    serveRegistryProxy(server, (target) => refused.push(target))
    client.write(`${head.slice(0, 9)}`)
    client.write(`${head.slice(9)}\r\nhost: x\r\n\r\n`)
    const [answer]: Buffer[] = await once(client, 'data')
    assert.match(String(answer), /^HTTP\/1\.1 403 /)
    assert.deepEqual(refused, [head])
  })

test('serveRegistryProxy ends a head without end', async () => {
  const [client, server] = duplexPair()
  serveRegistryProxy(server, () => assert.fail('nothing was asked for'))
  client.resume().write('x'.repeat(9_000))
  await once(server, 'close')
})
