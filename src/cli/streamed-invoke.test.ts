import assert from 'node:assert/strict'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { createClient } from '@hearth/sdk'
import { createOutput } from './output.ts'
import { invokeStreamed } from './streamed-invoke.ts'

interface Ran {
  readonly code: Promise<number>
  readonly stdout: () => string
}

/** Streams from a platform whose connection breaks off behind "part", while the receipt says `ended`, or may not be read (null). `outcome`: told before the first byte. */
async function cutOff(
  t: TestContext,
  { isJson, ended, outcome }: { isJson: boolean; ended: string | null; outcome?: string },
): Promise<Ran> {
  const server = http.createServer((request, response) => {
    const told = outcome === undefined ? {} : { 'hearth-outcome': outcome }
    // What is not read of a request would reset the connection under the part.
    request.resume().once('end', () => {
      if (request.method === 'GET' && ended === null) {
        response.writeHead(403).end('{"error":{"code":"forbidden","message":"No.","retryable":false}}')
        return
      }
      if (request.method === 'GET') {
        response.end(JSON.stringify({ outcome: ended, effect: 'completed', error: null }))
        return
      }
      response.writeHead(200, { 'hearth-invocation-id': 'i', 'content-type': 'text/plain', ...told })
      response.write('part', () => response.destroy())
    })
  })
  t.after(() => server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const written: string[] = []
  const stdout = {
    write: (text: string | Uint8Array, taken?: () => void): void => {
      written.push(Buffer.from(text).toString())
      taken?.()
    },
  }
  const output = createOutput({ stdout, stderr: { write: () => {} }, env: {}, isJson })
  const client = createClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, apiKey: 'key' })
  const flags = { log: false, tail: false, receipt: false }
  const code = invokeStreamed({ output, client: async () => client }, { name: 'f', data: '{}', flags })
  return { code, stdout: () => written.join('') }
}

for (const isJson of [false, true]) {
  const part = isJson ? '{"chunk":"part"}\n' : 'part'
  const how = isJson ? '--json' : 'bytes'

  test(`invokeStreamed, ${how}: a result that broke off is no success, though the invocation was one`, async (t) => {
    for (const outcome of [undefined, 'succeeded']) {
      const { code, stdout } = await cutOff(t, {
        isJson,
        ended: 'succeeded',
        ...(outcome !== undefined && { outcome }),
      })
      await assert.rejects(code, {
        exitCode: 9,
        message: /broke off before the whole result had come, and invocation i /,
      })
      assert.equal(stdout(), part)
    }
  })

  test(`invokeStreamed, ${how}: what broke off for a key that may not read the receipt says both`, async (t) => {
    const { code, stdout } = await cutOff(t, { isJson, ended: null })
    await assert.rejects(code, {
      exitCode: 9,
      message: /broke off before .*what became of invocation i cannot be asked: No\.$/,
    })
    assert.equal(stdout(), part)
  })

  test(`invokeStreamed, ${how}: what broke off because the invocation failed ends as that`, async (t) => {
    const { code, stdout } = await cutOff(t, { isJson, ended: 'timed_out' })
    assert.equal(await code, 7)
    assert.ok(stdout().startsWith(part))
    if (isJson) assert.match(stdout(), /"outcome":"timed_out"[^\n]*\n$/)
  })
}
