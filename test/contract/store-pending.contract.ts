import { auditOf, versionOf, type Contract } from './store-bench.ts'
import { rejects } from '../support/rejects.ts'
import assert from 'node:assert/strict'

export function pendingContract(contract: Contract): void {
  const audit = auditOf('version.active', 'f')
  const second = { project: 'p', name: 'f', number: 2 }
  const pending = { mustLoad: true }

  contract('functions.create pending is listed as such until it is settled, once', async (store) => {
    const { record, version } = await store.functions.create(versionOf('f'), auditOf('function.create', 'f'), pending)
    assert.deepEqual([record.latest, record.update, version.state], [1, null, 'pending'])
    assert.deepEqual(await store.functions.pending(), [{ version, mustLoad: true }])
    await store.functions.settle({ ...second, number: 1 }, null, audit)
    assert.deepEqual(await store.functions.pending(), [])
    assert.equal((await store.functions.get('p', 'f'))?.version.state, 'active')
    const again = store.functions.settle({ ...second, number: 1 }, 'no', audit)
    await rejects(again, 'conflict', /Version 1 of function "f" is active already/)
    await rejects(store.functions.settle(second, null, audit), 'not_found', /has no version 2/)
  })

  contract('functions.accept leaves $LATEST, and functions.settle moves it', async (store) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    const accepted = await store.functions.accept(versionOf('f'), auditOf('function.update', 'f'), pending)
    assert.deepEqual([accepted.version.number, accepted.version.state], [2, 'pending'])
    assert.deepEqual([accepted.record.latest, accepted.record.versionCount], [1, 2])
    assert.deepEqual(accepted.record.update, { version: 2, state: 'pending', reason: null })
    const settled = await store.functions.settle(second, null, audit)
    assert.deepEqual([settled.latest, settled.update], [2, null])
    await rejects(
      store.functions.accept(versionOf('g'), auditOf('function.update', 'g'), pending),
      'not_found',
      /Function "g" does not exist/,
    )
  })

  contract(
    'functions.settle with a failure keeps $LATEST and the reason; nothing can be pointed there',
    async (store) => {
      await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
      await store.functions.accept(versionOf('f'), auditOf('function.update', 'f'), pending)
      const alias = { project: 'p', functionName: 'f', name: 'live', version: 2 }
      await rejects(store.aliases.set(alias, audit), 'conflict', /is still being prepared/)
      const settled = await store.functions.settle(second, 'It is broken.', auditOf('version.failed', 'f'))
      assert.deepEqual([settled.latest, settled.update], [1, { version: 2, state: 'failed', reason: 'It is broken.' }])
      await rejects(store.aliases.set(alias, audit), 'conflict', /cannot run: It is broken\./)
      await rejects(store.functions.setLatest('p', 'f', 2, audit), 'conflict', /cannot run/)
    },
  )

  contract('functions.setLatest and publish are the last word over what is pending', async (store) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    await store.functions.accept(versionOf('f'), auditOf('function.update', 'f'), pending)
    await store.functions.publish(versionOf('f'), auditOf('function.update', 'f'))
    assert.equal((await store.functions.settle(second, null, audit)).latest, 3)
    await store.functions.accept(versionOf('f'), auditOf('function.update', 'f'), pending)
    await store.functions.setLatest('p', 'f', 1, auditOf('function.rollback', 'f'))
    assert.equal((await store.functions.settle({ ...second, number: 4 }, null, audit)).latest, 1)
  })
}
