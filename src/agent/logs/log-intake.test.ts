import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '../../domain/clock.ts'
import { LogIntake } from './log-intake.ts'

function open(bytesPerSecond = 1_000_000): {
  intake: LogIntake
  clock: ManualClock
  lines: string[]
  rests: number[]
  write: (text: string | Buffer, from?: { fd?: 1 | 2; isRaw?: boolean; invocation?: string }) => void
} {
  const clock = new ManualClock()
  const lines: string[] = []
  const rests: number[] = []
  const intake = new LogIntake({
    clock,
    bytesPerSecond,
    emit: (code, invocation, text) => void lines.push(`${code} ${invocation ?? '-'} ${text}`),
    rest: (ms) => void rests.push(ms),
  })
  const write = (text: string | Buffer, from: { fd?: 1 | 2; isRaw?: boolean; invocation?: string } = {}): void =>
    intake.write(Buffer.from(text), { fd: 1, isRaw: false, invocation: 'a', ...from })
  return { intake, clock, lines, rests, write }
}

test('write: lines are joined from pieces, per descriptor and source', () => {
  const { lines, write } = open()
  write('one\ntw')
  write('err', { fd: 2 })
  write('raw', { isRaw: true })
  write('o\n')
  write('or\n', { fd: 2 })
  write('!\n', { isRaw: true })
  assert.deepEqual(lines, ['o a one', 'o a two', 'e a error', 'o a raw!'])
})

test('write: a partial line belongs to the invocation that began it', () => {
  const { lines, write } = open()
  write('first', { invocation: 'a' })
  write('second\n', { invocation: 'b' })
  assert.deepEqual(lines, ['o a first', 'o b second'])
})

test('write: a partial line is shown after a second, or at the end of the invocation', () => {
  const { clock, intake, lines, write } = open()
  write('prompt> ')
  clock.advance(999)
  assert.deepEqual(lines, [])
  clock.advance(1)
  assert.deepEqual(lines, ['o a prompt> '])
  write('more')
  intake.flush()
  assert.deepEqual(lines, ['o a prompt> ', 'o a more'])
})

test('write: characters split over pieces are whole, garbage becomes U+FFFD', () => {
  const { lines, write } = open()
  const euro = Buffer.from('\u20ac\n')
  write(euro.subarray(0, 1))
  write(euro.subarray(1))
  write(Buffer.from([0xff, 0x41, 10]))
  assert.deepEqual(lines, ['o a \u20ac', 'o a \ufffdA'])
})

test('write: a line over 256 KiB is cut', () => {
  const { lines, write } = open()
  write(`${'x'.repeat(256 * 1024 + 5)}\n`)
  assert.deepEqual(
    lines.map(({ length }) => length - 4),
    [256 * 1024, 5],
  )
  for (let n = 0; n < 5; n++) write('y'.repeat(64 * 1024))
  assert.equal(lines.length, 3)
})

test('rate: what a second allows may come at once, more is dropped and told, a flood makes the channel rest', () => {
  const { clock, intake, lines, rests, write } = open(100)
  for (let n = 0; n < 30; n++) write('123456789\n')
  assert.equal(lines.length, 10)
  assert.ok(rests.length > 0)
  clock.advance(1_000)
  write('after\n')
  assert.deepEqual(lines.slice(10), ['p - [hearth] dropped 200 bytes of log output', 'o a after'])
  for (let n = 0; n < 12; n++) write('123456789\n')
  intake.flush()
  assert.match(lines.at(-1) ?? '', /dropped 30 bytes/)
})
