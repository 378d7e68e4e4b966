import { rejects } from '../../test/support/rejects.ts'
import type { Digest } from '../domain/artifact.ts'
import { defaultConfig } from '../domain/default-config.ts'
import { limits } from '../domain/limits.ts'
import { unpackTrees } from './code-trees.ts'
import assert from 'node:assert/strict'
import { test } from 'node:test'

const digestOf = (digit: string): Digest => `sha256:${digit.repeat(64)}`

/** Trees of the sizes given, each in a folder named after its digest's digit. */
const artifactsOf = (bytes: Readonly<Record<string, number>>) => ({
  unpack: async (digest: Digest) => {
    const digit = digest.at(-1) ?? ''
    return { folder: `/trees/${digit}`, bytes: bytes[digit] ?? 0, entries: 1 }
  },
  unpackImage: async () => {
    throw new Error('It is no image.')
  },
})
const version = {
  runtimeId: 'node26',
  config: defaultConfig('x86_64'),
  codeDigest: digestOf('0'),
  layers: [
    { name: 'one', number: 1, digest: digestOf('1') },
    { name: 'two', number: 3, digest: digestOf('2') },
  ],
} as const

test('unpackTrees: code and layers in their order, up to the limit of all together', async () => {
  const { unpackedBytesMax } = limits.archive
  assert.deepEqual(await unpackTrees(artifactsOf({ 0: 1, 1: 2, 2: unpackedBytesMax - 3 }), version), {
    folder: '/trees/0',
    cacheFolder: null,
    layerFolders: ['/trees/1', '/trees/2'],
    container: null,
    bytes: unpackedBytesMax,
    entries: 3,
  })
})

test('unpackTrees: more than the limit together is refused, saying how much each has', async () => {
  const { unpackedBytesMax } = limits.archive
  const many = artifactsOf({ 0: 1, 1: 2, 2: unpackedBytesMax - 2 })
  const says = /the code has 1, one:1 has 2, two:3 has 1073741822\. Leave out/
  const { field } = await rejects(unpackTrees(many, version), 'invalid', says)
  assert.equal(field, 'layers')
})
