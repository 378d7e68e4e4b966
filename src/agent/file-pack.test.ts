import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseFilePack } from './file-pack.ts'

function pack(files: readonly (readonly [string | Buffer, string])[]): Buffer {
  return Buffer.concat(
    files.map(([name, content]) => {
      const path = Buffer.from(name)
      const head = Buffer.alloc(2)
      head.writeUInt16BE(path.length)
      const size = Buffer.alloc(4)
      size.writeUInt32BE(Buffer.byteLength(content))
      return Buffer.concat([head, path, size, Buffer.from(content)])
    }),
  )
}

test('parseFilePack: files with their bytes', () => {
  const files = parseFilePack(
    pack([
      ['a.js', 'one'],
      ['lib/b.js', ''],
    ]),
  )
  assert.deepEqual(
    files.map(({ path, bytes }) => [path, bytes.toString()]),
    [
      ['a.js', 'one'],
      ['lib/b.js', ''],
    ],
  )
  assert.deepEqual(parseFilePack(Buffer.alloc(0)), [])
})

for (const [what, bytes] of [
  ['a parent', pack([['../a', '']])],
  ['a parent inside', pack([['a/../../b', '']])],
  ['an absolute path', pack([['/etc/passwd', '']])],
  ['an empty path', pack([['', '']])],
  ['an empty part', pack([['a//b', '']])],
  ['a dot', pack([['./a', '']])],
  ['a backslash', pack([['..\\a', '']])],
  ['a zero byte', pack([['a\0b', '']])],
  ['no UTF-8', pack([[Buffer.from([0xff]), '']])],
  [
    'a path twice',
    pack([
      ['a', ''],
      ['a', ''],
    ]),
  ],
  [
    'a file that is a folder',
    pack([
      ['a', ''],
      ['a/b', ''],
    ]),
  ],
  [
    'a folder that is a file',
    pack([
      ['a/b', ''],
      ['a', ''],
    ]),
  ],
  ['a long path', pack([['a/'.repeat(600) + 'b', '']])],
  ['a cut header', pack([['a', 'x']]).subarray(0, 2)],
  ['cut bytes', pack([['a', 'xyz']]).subarray(0, 8)],
] as const)
  test(`parseFilePack: ${what} is refused`, () => {
    assert.throws(() => parseFilePack(bytes), { code: 'guest_failed', message: /^Cannot take the compiled files: / })
  })

test('parseFilePack: a size beyond the pack is refused without taking memory', () => {
  const huge = pack([['a', '']])
  huge.writeUInt32BE(0xffff_ffff, 3)
  assert.throws(() => parseFilePack(huge), /cut short/)
})
