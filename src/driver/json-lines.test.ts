import assert from 'node:assert/strict'
import { Duplex } from 'node:stream'
import { describe, test } from 'node:test'
import { setImmediate as tick } from 'node:timers/promises'
import { readJsonLines } from './json-lines.ts'

function open(lineBytesMax = 100): { channel: Duplex; calls: unknown[][] } {
  const calls: unknown[][] = []
  const channel = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  readJsonLines(channel, {
    lineBytesMax,
    onMessage: (message) => calls.push(['message', message]),
    onInvalid: (line) => calls.push(['invalid', line]),
    onClosed: (why) => calls.push(['closed', why]),
  })
  return { channel, calls }
}

describe('readJsonLines', () => {
  test('joins what comes in pieces, and splits what comes together', async () => {
    const { channel, calls } = open()
    for (const piece of ['{"a":', '"\u00e9', '"}\n{"b":2}\n{"c"', ':3}\n']) channel.push(piece)
    await tick()
    assert.deepEqual(calls, [
      ['message', { a: '\u00e9' }],
      ['message', { b: 2 }],
      ['message', { c: 3 }],
    ])
  })

  test('what is no object is told as invalid, and the next line is read', async () => {
    const { channel, calls } = open()
    channel.push('nonsense\n7\nnull\n{}\n')
    await tick()
    assert.deepEqual(calls, [
      ['invalid', 'nonsense'],
      ['invalid', '7'],
      ['invalid', 'null'],
      ['message', {}],
    ])
  })

  test('a line over the limit ends the channel before it is held whole', async () => {
    const { channel, calls } = open(10)
    channel.push('{"a":"0123456789')
    await tick()
    assert.deepEqual(calls[0], ['closed', 'a line of it is too long'])
    assert.ok(channel.destroyed)
  })

  test('the end and a failure of the channel are told', async () => {
    const ended = open()
    ended.channel.push(null)
    await tick()
    assert.deepEqual(ended.calls[0], ['closed', null])
    const failed = open()
    failed.channel.destroy(new Error('reset'))
    await tick()
    assert.deepEqual(failed.calls[0], ['closed', 'reset'])
  })
})
