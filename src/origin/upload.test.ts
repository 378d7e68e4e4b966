import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { Upload } from './upload.ts'

test('Upload: passes all of its source on, and has the digest once it is through', async () => {
  const source = new PassThrough()
  const upload = new Upload(source)
  assert.equal(upload.digest, null)
  source.end('content')
  assert.equal(await text(upload.body), 'content')
  assert.equal(upload.digest, `sha256:${createHash('sha256').update('content').digest('hex')}`)
  assert.equal(upload.broken.aborted, false)
  upload.release()
})

test('Upload.release: leaves the rest of its source unread and open', async () => {
  const source = new PassThrough()
  const upload = new Upload(source)
  upload.release()
  assert.equal(upload.broken.aborted, true)
  source.end('rest')
  assert.equal(await text(source), 'rest')
})

test('Upload.release: whoever else reads from its source gets all of it', { timeout: 10_000 }, async () => {
  const source = new PassThrough()
  const other = source.pipe(new PassThrough())
  const upload = new Upload(source)
  source.write('before, ')
  upload.release()
  source.end('after')
  assert.equal(await text(other), 'before, after')
})
