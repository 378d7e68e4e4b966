import { all, auditOf, versionOf, type Contract } from './store-bench.ts'
import { rejects } from '../support/rejects.ts'
import assert from 'node:assert/strict'

export function concurrencyContract(contract: Contract): void {
  contract('functions.create of one name from many sides has exactly one winner', async (store) => {
    const attempts = Array.from({ length: 50 }, () => {
      return store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    })
    const outcomes = await Promise.allSettled(attempts)
    assert.equal(outcomes.filter((outcome) => outcome.status === 'fulfilled').length, 1)
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'conflict')
    }
  })

  contract('functions.publish with one expectation from many sides has exactly one winner', async (store) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    const attempts = Array.from({ length: 20 }, () => {
      return store.functions.publish(versionOf('f'), auditOf('function.update', 'f'), 1)
    })
    const outcomes = await Promise.allSettled(attempts)
    assert.equal(outcomes.filter((outcome) => outcome.status === 'fulfilled').length, 1)
    assert.equal((await store.functions.get('p', 'f'))?.record.versionCount, 2)
  })

  contract('1,000 mutations at once all land, each failing or succeeding alone', async (store) => {
    const names = Array.from({ length: 1_000 }, (_, i) => `f${i % 900}`)
    const outcomes = await Promise.allSettled(
      names.map((name) => store.functions.create(versionOf(name), auditOf('function.create', name))),
    )
    assert.equal(outcomes.filter((outcome) => outcome.status === 'fulfilled').length, 900)
    const listed = await all((page) => store.functions.list('p', page), 100, undefined)
    assert.equal(listed.length, 900)
    assert.equal((await all((page) => store.audit.list('p', page), 250, undefined)).length, 901)
  })

  contract('reads asked for together with mutations never see one that fails', async (store) => {
    const write = store.functions.create({ ...versionOf('f'), project: 'nowhere' }, auditOf('function.create', 'f'))
    const [outcome, read] = await Promise.allSettled([write, store.functions.get('nowhere', 'f')])
    assert.equal(outcome.status, 'rejected')
    assert.deepEqual(read, { status: 'fulfilled', value: null })
  })

  contract('close lets what was asked for finish, and refuses what comes after', async (store) => {
    const last = store.meta.set('k', 'v')
    const closed = store.close()
    await last
    await closed
    await rejects(store.meta.get('k'), 'internal', /The store is closed/)
    await store.close()
  })
}
