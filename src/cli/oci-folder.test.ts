import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { listLayout } from './oci-folder.ts'

const manifestType = 'application/vnd.oci.image.manifest.v1+json'
const hexOf = (text: string): string => createHash('sha256').update(text).digest('hex')

interface Image {
  readonly hex: string
  readonly text: string
  readonly blobs: readonly string[]
}

/** A manifest that names these blobs. */
function imageOf(config: string, ...layers: readonly string[]): Image {
  const digestOf = (text: string): { digest: string } => ({ digest: `sha256:${hexOf(text)}` })
  const text = JSON.stringify({ config: digestOf(config), layers: layers.map(digestOf) })
  return { hex: hexOf(text), text, blobs: [config, ...layers] }
}

/** A layout whose index names `images`, and that has these blobs. */
function layout(t: TestContext, images: readonly Image[], blobs: readonly string[]): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-layout-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  mkdirSync(path.join(folder, 'blobs/sha256'), { recursive: true })
  writeFileSync(path.join(folder, 'oci-layout'), '{}')
  const manifests = images.map(({ hex }) => ({ mediaType: manifestType, digest: `sha256:${hex}` }))
  writeFileSync(path.join(folder, 'index.json'), JSON.stringify({ manifests }))
  for (const text of blobs) writeFileSync(path.join(folder, 'blobs/sha256', hexOf(text)), text)
  return folder
}

const one = imageOf('config of one', 'layer of one', 'layer of both')
const two = imageOf('config of two', 'layer of both')
const namesOf = (...texts: readonly string[]): string[] => [
  'oci-layout',
  'index.json',
  ...texts.map((text) => `blobs/sha256/${hexOf(text)}`),
]
const listed = async (folder: string): Promise<string[]> => (await listLayout(folder)).map(({ name }) => name)

test('listLayout takes a layout whose index names an image that is not there, or not whole, beside one that is', async (t) => {
  const own = [one.text, ...one.blobs]
  assert.deepEqual(await listed(layout(t, [two, one], own)), namesOf(...own))
  const half = layout(t, [two, one], [...own, two.text])
  assert.deepEqual(await listed(half), namesOf(two.text, 'layer of both', one.text, 'config of one', 'layer of one'))
})

test('listLayout refuses a layout in which no image is whole, and names the first file that is missing', async (t) => {
  const absent = layout(t, [one, two], [])
  await assert.rejects(listed(absent), new RegExp(`it has no file blobs/sha256/${one.hex}`))
  const shared = layout(t, [one, two], [one.text, two.text, 'config of one', 'layer of one', 'config of two'])
  await assert.rejects(listed(shared), new RegExp(`it has no file blobs/sha256/${hexOf('layer of both')}`))
  const none = layout(t, [], [])
  rmSync(path.join(none, 'oci-layout'))
  await assert.rejects(listed(none), /it has no file oci-layout/)
})
