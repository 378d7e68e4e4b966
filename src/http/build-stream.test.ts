import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import type { Control } from '../domain/control.ts'
import { AppError } from '../domain/error.ts'
import { streamBuild } from './build-stream.ts'

const caller = { actor: 'key-1', project: 'default', scopes: ['admin'] }
const body = { artifact: `sha256:${'0'.repeat(64)}`, runtime: 'go' }

/** What a client of a build gets whose key is revoked: at once, or after the build has told a line. */
async function revokedWhile(when: 'before' | 'building'): Promise<{ events: string; thrown: unknown }> {
  let revoke = (): void => {}
  let forgotten = 0
  const keys = {
    watch: async (_caller: unknown, ended: () => void) => {
      revoke = ended
      if (when === 'before') ended()
      return () => void forgotten++
    },
  } as unknown as Control['keys']
  const builds: Control['builds'] = {
    async build(_caller, _input, { report, signal }) {
      if (when === 'building') {
        report('compiling')
        setImmediate(revoke)
        await once(signal, 'abort')
      }
      throw new AppError('guest_failed', 'Nobody waits for this build any more.')
    },
  }
  let thrown: unknown = null
  const server = http.createServer((request, response) => {
    const raw = { request, response, content: request }
    const call = { caller, params: {}, query: {}, body, raw, onLateError: assert.ifError }
    streamBuild({ builds, keys }, call).catch((error: unknown) => {
      thrown = error
      response.end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const reply = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const events = await reply.text()
  await new Promise((resolve) => server.close(resolve))
  assert.equal(forgotten, 1)
  return { events, thrown }
}

test('streamBuild: ends when its key is revoked, as unauthorized; before the first line with its status', async () => {
  const { events } = await revokedWhile('building')
  assert.match(events, /"line":"compiling"[^]*"failed":\{"code":"unauthorized","message":"The key was revoked\."\}/)
  const { events: none, thrown } = await revokedWhile('before')
  assert.equal(none, '')
  assert.ok(thrown instanceof AppError && thrown.code === 'unauthorized')
})
