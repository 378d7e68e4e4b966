import assert from 'node:assert/strict'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { createClient } from './client.ts'
import { HearthError } from './hearth-error.ts'
import { keyProblem, trimPasted } from './pasted.ts'

test('trimPasted: white space and characters of no width go at the ends alone', () => {
  assert.equal(trimPasted('\ufeff\u200b hth_a_b\u00a0\r\n\u2060'), 'hth_a_b')
  assert.equal(trimPasted('hth_a\u200b_b'), 'hth_a\u200b_b')
})

test('keyProblem: names the character and never the key', () => {
  assert.equal(keyProblem('hth_a_b'), null)
  assert.equal(keyProblem(''), 'it is empty')
  assert.equal(keyProblem('hth_a\n_b'), 'character 6 is U+000A, which no key has')
  assert.equal(keyProblem('hth\u200b_b'), 'character 4 is U+200B, which no key has')
})

test('createClient: trims address and key; a key that no header takes is unauthorized, an address that is none is invalid', async () => {
  const server = http.createServer(({ headers }, response) =>
    response.end(JSON.stringify({ key: headers.authorization })),
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const good = createClient({ url: ` http://127.0.0.1:${port}/ \n`, apiKey: '\u200bhth_a_b\n' })
  assert.deepEqual(await good.healthz({}), { key: 'Bearer hth_a_b' })
  await new Promise((resolve) => server.close(resolve))
  const bad = createClient({ url: 'http://127.0.0.1:1', apiKey: 'hth_sec\nret' })
  await assert.rejects(bad.healthz({}), (error: unknown) => {
    assert.ok(error instanceof HearthError)
    assert.deepEqual([error.status, error.code], [401, 'unauthorized'])
    assert.match(error.message, /U\+000A/)
    assert.equal(/sec|ret/.test(JSON.stringify([error.message, String(error.cause)])), false)
    return true
  })
  await assert.rejects(createClient({ url: 'platform', apiKey: 'k' }).healthz({}), {
    code: 'invalid',
    field: 'url',
    message: /"platform"/,
  })
})
