import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { createOutput } from './output.ts'
import { readData, readSecret } from './read-input.ts'

const sink = { write: () => true }
const output = createOutput({ stdout: sink, stderr: sink, env: {}, isJson: false })
const piped = async (bytes: Buffer): Promise<string> =>
  readSecret('bin', undefined, { cwd: '/', stdin: Readable.from([bytes]), output })

test('readSecret: text as it is, but for one newline; bytes that are no text are refused with what to do', async () => {
  assert.equal(await piped(Buffer.from('\ufeffpass \u00fc\n\n')), '\ufeffpass \u00fc\n')
  await assert.rejects(piped(Buffer.from([0xff, 0xfe])), {
    message: 'Cannot store secret "bin": its value is not UTF-8 text.',
    hint: /base64/,
    exitCode: 2,
  })
})

test('readData: an "@" without a file is named, and so is a folder', async () => {
  const context = { cwd: '/', stdin: Readable.from([]) }
  await assert.rejects(readData('@', context), { message: 'Name the file after the "@", e.g. --data @event.json.' })
  await assert.rejects(readData('@/', context), { message: 'Cannot read "/": it is a folder.' })
  assert.equal(Buffer.from(await readData('{"a":1}', context)).toString(), '{"a":1}')
})
