import assert from 'node:assert/strict'
import { once } from 'node:events'
import http, { type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { watchStream } from './stream-watch.ts'

/** An answer to a client that goes when `leave` is called. */
async function asked(t: TestContext): Promise<{ response: ServerResponse; leave: () => void }> {
  const server = http.createServer()
  t.after(() => server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const request = http.get({ port: (server.address() as AddressInfo).port })
  request.on('error', () => {})
  const [, response]: [unknown, ServerResponse] = (await once(server, 'request')) as [unknown, ServerResponse]
  return { response, leave: () => void request.destroy() }
}

const noKey = async (): Promise<() => void> => () => {}

for (const when of ['before it is watched over', 'while it is watched over'])
  test(`watchStream: a reader that goes ${when} ends the stream`, async (t) => {
    const { response, leave } = await asked(t)
    if (when.startsWith('before')) {
      leave()
      await once(response, 'close')
    }
    const watch = await watchStream(response, noKey)
    if (when.startsWith('while')) {
      assert.equal(watch.isGone(), false)
      leave()
      await once(watch.signal, 'abort')
    }
    assert.deepEqual([watch.isGone(), watch.signal.aborted], [true, true])
    watch.end()
  })
