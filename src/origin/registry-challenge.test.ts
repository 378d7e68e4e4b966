import { parseChallenges } from './registry-challenge.ts'
import assert from 'node:assert/strict'
import { test } from 'node:test'

const parsed = (header: string): unknown =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)])

test('parseChallenges: what registries say', () => {
  const bearer =
    'Bearer realm="https://auth.example.com/token",service="registry.example.com",scope="repository:a/b:pull,push"'
  const parameters = {
    realm: 'https://auth.example.com/token',
    service: 'registry.example.com',
    scope: 'repository:a/b:pull,push',
  }
  assert.deepEqual(parsed(bearer), [['bearer', parameters]])
  assert.deepEqual(parsed('Basic realm="x"'), [['basic', { realm: 'x' }]])
  assert.deepEqual(parsed('BASIC'), [['basic', {}]])
})

test('parseChallenges: several in one header, spaces, tokens and escapes', () => {
  assert.deepEqual(parsed('Negotiate, Basic realm=plain , Bearer  Realm = "a \\"b\\", c" , error="x"'), [
    ['negotiate', {}],
    ['basic', { realm: 'plain' }],
    ['bearer', { realm: 'a "b", c', error: 'x' }],
  ])
})

test('parseChallenges: what is no challenge gives none, in time that grows with its length alone', () => {
  for (const header of ['', ',', '=', 'realm="x"', '"', '\u0000', 'Bearer realm="open'])
    assert.ok(
      parseChallenges(header).every(({ parameters }) => parameters.size === 0),
      header,
    )
  const startedMs = performance.now()
  for (const hostile of [
    'a'.repeat(60_000),
    'Bearer ' + 'a="'.repeat(20_000),
    'B ' + ' '.repeat(60_000) + '=',
    '\\"'.repeat(30_000),
  ])
    parseChallenges(hostile)
  assert.ok(performance.now() - startedMs < 1_000)
})
