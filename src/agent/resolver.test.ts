import assert from 'node:assert/strict'
import dgram from 'node:dgram'
import { test } from 'node:test'
import { decode, encode, type Packet } from 'dns-packet'
import { silentLogger } from '../domain/logger.ts'
import { closedRanges, isOpenAddress } from '../domain/closed-ranges.ts'
import { startResolver, type Lookup } from './resolver.ts'

const lookup: Lookup = async (name) => {
  if (name === 'mixed.example')
    return [
      { address: '203.0.113.7', ttl: 3600 },
      { address: '10.0.0.5', ttl: 60 },
      { address: '169.254.169.254', ttl: 60 },
    ]
  if (name === 'private.example') return [{ address: '192.168.1.1', ttl: 60 }]
  throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' })
}

async function ask(
  name: string,
  type: 'A' | 'AAAA' | 'TXT',
  isSandbox = true,
): Promise<(Packet & { rcode?: string }) | null> {
  const resolver = await startResolver({ logger: silentLogger, lookup, host: '127.0.0.1', isSandbox: () => isSandbox })
  const socket = dgram.createSocket('udp4')
  try {
    const reply = new Promise<Buffer | null>((resolve) => {
      socket.once('message', resolve)
      if (!isSandbox) setTimeout(() => resolve(null), 200)
    })
    socket.send(Buffer.from([1, 2, 3]), resolver.port, '127.0.0.1')
    socket.send(encode({ type: 'query', id: 77, questions: [{ name, type }] }), resolver.port, '127.0.0.1')
    const message = await reply
    return message === null ? null : decode(message)
  } finally {
    socket.close()
    await resolver.close()
  }
}

test('startResolver: answers in closed ranges are dropped, open ones kept with a short ttl', async () => {
  const reply = await ask('mixed.example', 'A')
  assert.deepEqual(
    reply?.answers?.map((answer) => ('data' in answer ? [answer.data, 'ttl' in answer ? answer.ttl : 0] : [])),
    [['203.0.113.7', 60]],
  )
  assert.equal(reply?.id, 77)
})

test('startResolver: a name with only closed addresses has no answer', async () => {
  assert.deepEqual((await ask('private.example', 'A'))?.answers, [])
})

test('startResolver: AAAA and other types are empty, an unknown name is NXDOMAIN', async () => {
  assert.deepEqual((await ask('mixed.example', 'AAAA'))?.answers, [])
  assert.deepEqual((await ask('mixed.example', 'TXT'))?.answers, [])
  assert.equal((await ask('absent.example', 'A'))?.rcode, 'NXDOMAIN')
})

test('startResolver: a source that is no sandbox gets nothing', async () => {
  assert.equal(await ask('mixed.example', 'A', false), null)
})

test('isOpenAddress: first and last address of each closed range are closed, IPv6 altogether', () => {
  for (const range of closedRanges) assert.equal(isOpenAddress(range.split('/')[0] ?? ''), false, range)
  for (const address of [
    '172.31.255.255',
    '100.127.255.255',
    '169.254.169.254',
    '255.255.255.255',
    '::1',
    '2001:4860::8888',
    '::ffff:8.8.8.8',
    'name',
  ])
    assert.equal(isOpenAddress(address), false, address)
  for (const address of ['8.8.8.8', '172.32.0.1', '100.128.0.1', '203.0.113.7'])
    assert.equal(isOpenAddress(address), true, address)
})
