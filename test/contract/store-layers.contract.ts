import type { Digest } from '../../src/domain/artifact.ts'
import type { LayerVersion } from '../../src/domain/layer.ts'
import { all, auditOf, versionOf, type Contract } from './store-bench.ts'
import { rejects } from '../support/rejects.ts'
import assert from 'node:assert/strict'

const digestOf = (digit: string): Digest => `sha256:${digit.repeat(64)}`

function draft(name: string, digit = 'a'): Omit<LayerVersion, 'number' | 'createdAt'> {
  const rest = { description: 'Tools.', runtimes: ['node'], bytes: 7, unpackedBytes: 70, origin: null }
  return { project: 'p', name, digest: digestOf(digit), ...rest }
}

export function layersContract(contract: Contract): void {
  contract('layers.publish numbers from 1 and never twice', async (store, clock) => {
    const publish = async (digit: string) =>
      store.layers.publish(draft('tools', digit), auditOf('layer.publish', 'tools'))
    const remove = async (number: number) =>
      store.layers.delete('p', { name: 'tools', number }, auditOf('layer.delete', 'tools'))
    const first = await publish('1')
    assert.deepEqual(first, { ...draft('tools', '1'), number: 1, createdAt: clock.nowMs() })
    const second = await publish('2')
    assert.equal(second.number, 2)
    assert.deepEqual(await store.layers.get('p', first), first)
    assert.deepEqual(await store.layers.versions('p', 'tools'), [second, first])
    assert.equal(await remove(2), digestOf('2'))
    assert.deepEqual((await store.layers.list('p', { limit: 10 })).items, [first])
    assert.equal((await publish('3')).number, 3)
    await rejects(remove(2), 'not_found', /There is no layer "tools:2"/)
    assert.equal(await store.layers.get('other', first), null)
    const lost = store.layers.publish({ ...draft('x'), project: 'nowhere' }, auditOf('layer.publish', 'x'))
    await rejects(lost, 'not_found', /Project "nowhere" does not exist/)
  })

  contract('layers.list pages by name, each with its newest version', async (store) => {
    for (const name of ['b', 'a', 'c', 'a', 'd'])
      await store.layers.publish(draft(name), auditOf('layer.publish', name))
    const listed = await all((page) => store.layers.list('p', page), 2, undefined)
    assert.deepEqual(
      listed.map(({ name, number }) => `${name}:${number}`),
      ['a:2', 'b:1', 'c:1', 'd:1'],
    )
  })

  contract('a version keeps its layers and where its code came from; storage.names knows both', async (store) => {
    const origin = {
      kind: 's3',
      source: 's3://b/k',
      endpoint: 'https://s3',
      etag: '"e"',
      versionId: null,
      fetchedAt: 7,
    } as const
    const layers = [{ name: 'tools', number: 1, digest: digestOf('7') }]
    await store.functions.create(versionOf('f', { origin, layers }), auditOf('function.create', 'f'))
    const version = await store.functions.version('p', 'f', 1)
    assert.deepEqual([version?.codeOrigin, version?.layers], [origin, layers])
    assert.equal(await store.storage.names(digestOf('7')), true)
    await store.layers.publish(draft('tools', '8'), auditOf('layer.publish', 'tools'))
    assert.equal(await store.storage.names(digestOf('8')), true)
    await store.functions.delete('p', 'f', auditOf('function.delete', 'f'))
    assert.equal(await store.storage.names(digestOf('7')), false)
  })
}
