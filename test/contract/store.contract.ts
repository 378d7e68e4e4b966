import { ManualClock } from '../../src/domain/clock.ts'
import type { Clock } from '../../src/domain/clock.ts'
import { defaultConfig } from '../../src/domain/default-config.ts'
import { AppError } from '../../src/domain/error.ts'
import type { ErrorCode } from '../../src/domain/error.ts'
import type { AuditDraft, NewVersion, Page, PageRequest, Store } from '../../src/domain/store.ts'
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

/** Opens an empty store for one test, and closes and removes it after that test. */
export type OpenStore = (t: TestContext, clock: Clock) => Promise<Store>

/** What every Store must do, whatever it is made of. */
export function storeContract(name: string, open: OpenStore): void {
  const contract = (title: string, body: (store: Store, clock: ManualClock) => Promise<void>): void => {
    test(`${name}: ${title}`, async (t) => {
      const clock = new ManualClock(1_000_000)
      const store = await open(t, clock)
      await store.projects.create('p', { functionsMax: 2_000, concurrencyMax: 10 }, auditOf('project.create', 'p'))
      await body(store, clock)
    })
  }
  functionsContract(contract)
  versionsContract(contract)
  pendingContract(contract)
  aliasesContract(contract)
  projectsAndKeysContract(contract)
  secretsContract(contract)
  pagingContract(contract)
  auditContract(contract)
  concurrencyContract(contract)
}

type Contract = (title: string, body: (store: Store, clock: ManualClock) => Promise<void>) => void

export function auditOf(action: string, target: string): AuditDraft {
  return { actor: 'key1', action, target, detail: { why: 'test' } }
}

export function versionOf(
  functionName: string,
  options: { secrets?: Record<string, string>; code?: string } = {},
): NewVersion {
  return {
    project: 'p',
    functionName,
    config: {
      ...defaultConfig('x86_64'),
      description: 'Says hello.',
      runtime: 'node24',
      handler: 'index.handler',
      env: { GREETING: 'hello' },
      secrets: options.secrets ?? {},
    },
    codeDigest: `sha256:${(options.code ?? 'a').repeat(64)}`,
    codeBytes: 1_234,
    runtimeId: 'node24',
    runtimeVersion: '24.1.0',
    runtimeDigest: `sha256:${'b'.repeat(64)}`,
    policyDigest: `sha256:${'c'.repeat(64)}`,
  }
}

function functionsContract(contract: Contract): void {
  contract('functions.create gives version 1 and get returns what was created', async (store, clock) => {
    const created = await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    assert.deepEqual(created.record, {
      project: 'p',
      name: 'f',
      latest: 1,
      versionCount: 1,
      update: null,
      createdAt: clock.nowMs(),
      updatedAt: clock.nowMs(),
    })
    assert.deepEqual(created.version, {
      ...versionOf('f'),
      number: 1,
      createdAt: clock.nowMs(),
      state: 'active',
      stateReason: null,
    })
    assert.deepEqual(await store.functions.get('p', 'f'), created)
    assert.equal(await store.functions.get('p', 'g'), null)
    assert.equal(await store.functions.get('other', 'f'), null)
  })

  contract('functions.create refuses a taken name, an unknown project and a full one', async (store) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    const again = store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    await rejects(again, 'conflict', /Function "f" already exists in project "p"/)
    const lost = store.functions.create({ ...versionOf('f'), project: 'nowhere' }, auditOf('function.create', 'f'))
    await rejects(lost, 'not_found', /Project "nowhere" does not exist/)
    await store.projects.create('small', { functionsMax: 1, concurrencyMax: 1 }, auditOf('project.create', 'small'))
    await store.functions.create({ ...versionOf('one'), project: 'small' }, auditOf('function.create', 'one'))
    const second = store.functions.create({ ...versionOf('two'), project: 'small' }, auditOf('function.create', 'two'))
    const error = await rejects(second, 'capacity', /"small" already holds its maximum of 1 functions/)
    assert.equal(error.retryable, false)
  })

  contract('functions.delete removes function, versions and aliases, and frees the name', async (store) => {
    await store.functions.create(versionOf('f', { code: 'd' }), auditOf('function.create', 'f'))
    await store.aliases.set({ project: 'p', functionName: 'f', name: 'live', version: 1 }, auditOf('alias.set', 'f'))
    assert.deepEqual(await store.functions.referencedCode(), [`sha256:${'d'.repeat(64)}`])
    await store.functions.delete('p', 'f', auditOf('function.delete', 'f'))
    assert.equal(await store.functions.get('p', 'f'), null)
    assert.equal(await store.functions.version('p', 'f', 1), null)
    assert.equal(await store.aliases.get('p', 'f', 'live'), null)
    assert.deepEqual(await store.functions.referencedCode(), [])
    const again = await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    assert.equal(again.version.number, 1)
    await rejects(
      store.functions.delete('p', 'g', auditOf('function.delete', 'g')),
      'not_found',
      /Function "g" does not/,
    )
  })
}

function versionsContract(contract: Contract): void {
  contract('functions.publish numbers on and moves $LATEST', async (store, clock) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    const createdAt = clock.nowMs()
    clock.advance(5_000)
    const { record, version } = await store.functions.publish(
      versionOf('f', { code: 'd' }),
      auditOf('function.update', 'f'),
    )
    assert.equal(version.number, 2)
    assert.equal(version.createdAt, createdAt + 5_000)
    assert.equal(record.latest, 2)
    assert.equal(record.createdAt, createdAt)
    assert.equal(record.updatedAt, createdAt + 5_000)
    assert.deepEqual(await store.functions.get('p', 'f'), { record, version })
    assert.equal((await store.functions.version('p', 'f', 1))?.codeDigest, `sha256:${'a'.repeat(64)}`)
    assert.equal(await store.functions.version('p', 'f', 3), null)
    assert.equal((await store.functions.referencedCode()).length, 2)
  })

  contract('functions.publish refuses an unknown function and a stale expectation', async (store) => {
    const lost = store.functions.publish(versionOf('f'), auditOf('function.update', 'f'))
    await rejects(lost, 'not_found', /Function "f" does not exist/)
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    await store.functions.publish(versionOf('f'), auditOf('function.update', 'f'), 1)
    const stale = store.functions.publish(versionOf('f'), auditOf('function.update', 'f'), 1)
    await rejects(stale, 'conflict', /version 2 is current, not 1/)
    assert.equal((await store.functions.get('p', 'f'))?.record.versionCount, 2)
  })

  contract('functions.setLatest repoints, and publish then goes on from the highest number', async (store) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    await store.functions.publish(versionOf('f'), auditOf('function.update', 'f'))
    const record = await store.functions.setLatest('p', 'f', 1, auditOf('function.rollback', 'f'))
    assert.equal(record.latest, 1)
    assert.equal((await store.functions.get('p', 'f'))?.version.number, 1)
    const { version } = await store.functions.publish(versionOf('f'), auditOf('function.update', 'f'))
    assert.equal(version.number, 3)
    const unknown = store.functions.setLatest('p', 'f', 9, auditOf('function.rollback', 'f'))
    await rejects(unknown, 'not_found', /Function "f" has no version 9/)
    const lost = store.functions.setLatest('p', 'g', 1, auditOf('function.rollback', 'g'))
    await rejects(lost, 'not_found', /Function "g" does not exist/)
  })
}

function pendingContract(contract: Contract): void {
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

function aliasesContract(contract: Contract): void {
  contract('aliases.set creates and repoints; get, list and delete follow', async (store, clock) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    await store.functions.publish(versionOf('f'), auditOf('function.update', 'f'))
    const alias = { project: 'p', functionName: 'f', name: 'live', version: 1 }
    assert.deepEqual(await store.aliases.set(alias, auditOf('alias.set', 'f')), { ...alias, updatedAt: clock.nowMs() })
    clock.advance(10)
    await store.aliases.set({ ...alias, version: 2 }, auditOf('alias.set', 'f'))
    await store.aliases.set({ ...alias, name: 'beta' }, auditOf('alias.set', 'f'))
    assert.deepEqual(await store.aliases.get('p', 'f', 'live'), { ...alias, version: 2, updatedAt: clock.nowMs() })
    const names = (await store.aliases.list('p', 'f')).map((found) => found.name)
    assert.deepEqual(names, ['beta', 'live'])
    await store.aliases.delete('p', 'f', 'live', auditOf('alias.delete', 'f'))
    assert.equal(await store.aliases.get('p', 'f', 'live'), null)
    assert.deepEqual(await store.aliases.list('p', 'g'), [])
  })

  contract('aliases refuse what does not exist', async (store) => {
    const alias = { project: 'p', functionName: 'f', name: 'live', version: 1 }
    await rejects(store.aliases.set(alias, auditOf('alias.set', 'f')), 'not_found', /Function "f" does not exist/)
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    const beyond = store.aliases.set({ ...alias, version: 2 }, auditOf('alias.set', 'f'))
    await rejects(beyond, 'not_found', /Function "f" has no version 2/)
    const missing = store.aliases.delete('p', 'f', 'live', auditOf('alias.delete', 'f'))
    await rejects(missing, 'not_found', /Function "f" has no alias "live"/)
  })
}

function projectsAndKeysContract(contract: Contract): void {
  contract('projects.create, get and list; a taken name is a conflict', async (store, clock) => {
    const quotas = { functionsMax: 5, concurrencyMax: 7 }
    const created = await store.projects.create('a', quotas, auditOf('project.create', 'a'))
    assert.deepEqual(created, { name: 'a', createdAt: clock.nowMs(), quotas })
    assert.deepEqual(await store.projects.get('a'), created)
    assert.equal(await store.projects.get('b'), null)
    const names = (await store.projects.list()).map((project) => project.name)
    assert.deepEqual(names, ['a', 'p'])
    const again = store.projects.create('a', quotas, auditOf('project.create', 'a'))
    await rejects(again, 'conflict', /Project "a" already exists/)
  })

  contract('keys.create, get, list and revoke', async (store, clock) => {
    const draft = { id: 'k1', project: 'p', name: 'deploy', scopes: ['invoke:*', 'logs:read'] }
    const key = await store.keys.create(draft, auditOf('key.create', 'k1'))
    assert.deepEqual(key, { ...draft, createdAt: clock.nowMs(), revokedAt: null })
    assert.deepEqual(await store.keys.get('k1'), key)
    assert.deepEqual(await store.keys.list('p'), [key])
    clock.advance(50)
    const revoked = await store.keys.revoke('p', 'k1', auditOf('key.revoke', 'k1'))
    assert.equal(revoked.revokedAt, clock.nowMs())
    clock.advance(50)
    assert.deepEqual(await store.keys.revoke('p', 'k1', auditOf('key.revoke', 'k1')), revoked)
    assert.deepEqual(await store.keys.get('k1'), revoked)
  })

  contract("keys refuse a taken id, an unknown project and another project's key", async (store) => {
    const draft = { id: 'k1', project: 'p', name: 'deploy', scopes: [] }
    await store.keys.create(draft, auditOf('key.create', 'k1'))
    await rejects(store.keys.create(draft, auditOf('key.create', 'k1')), 'conflict', /Key "k1" already exists/)
    const lost = store.keys.create({ ...draft, id: 'k2', project: 'nowhere' }, auditOf('key.create', 'k2'))
    await rejects(lost, 'not_found', /Project "nowhere" does not exist/)
    await store.projects.create('q', { functionsMax: 1, concurrencyMax: 1 }, auditOf('project.create', 'q'))
    await rejects(store.keys.revoke('q', 'k1', auditOf('key.revoke', 'k1')), 'not_found', /Key "k1" does not exist/)
    assert.equal((await store.keys.get('k1'))?.revokedAt, null)
  })

  contract('meta.set replaces and check finds a sound store', async (store) => {
    assert.equal(await store.meta.get('installedAt'), null)
    await store.meta.set('installedAt', '1')
    await store.meta.set('installedAt', '2')
    assert.equal(await store.meta.get('installedAt'), '2')
    assert.deepEqual(await store.check(), [])
  })
}

function secretsContract(contract: Contract): void {
  contract('secrets.set counts revisions, sealed returns the bytes, list never does', async (store, clock) => {
    const createdAt = clock.nowMs()
    const first = await store.secrets.set('p', 'token', Uint8Array.of(1, 2), auditOf('secret.set', 'token'))
    assert.deepEqual(first, { project: 'p', name: 'token', revision: 1, createdAt, updatedAt: createdAt })
    clock.advance(9)
    const second = await store.secrets.set('p', 'token', Uint8Array.of(3), auditOf('secret.set', 'token'))
    assert.deepEqual(second, { ...first, revision: 2, updatedAt: createdAt + 9 })
    const sealed = await store.secrets.sealed('p', ['token', 'missing'])
    assert.deepEqual([...sealed.keys()], ['token'])
    assert.deepEqual(Uint8Array.from(sealed.get('token') ?? []), Uint8Array.of(3))
    assert.equal((await store.secrets.sealed('p', [])).size, 0)
    assert.deepEqual(await store.secrets.list('p'), [second])
    const lost = store.secrets.set('nowhere', 'token', Uint8Array.of(1), auditOf('secret.set', 'token'))
    await rejects(lost, 'not_found', /Project "nowhere" does not exist/)
  })

  contract('secrets.delete names the $LATEST versions and aliases that still use it', async (store) => {
    await store.secrets.set('p', 'token', Uint8Array.of(1), auditOf('secret.set', 'token'))
    await store.functions.create(
      versionOf('f', { secrets: { API: 'token', B: 'token' } }),
      auditOf('function.create', 'f'),
    )
    await store.functions.create(versionOf('g', { secrets: { API: 'token' } }), auditOf('function.create', 'g'))
    await store.aliases.set({ project: 'p', functionName: 'g', name: 'live', version: 1 }, auditOf('alias.set', 'g'))
    const used = store.secrets.delete('p', 'token', auditOf('secret.delete', 'token'))
    await rejects(used, 'conflict', /"token": it is used by "f:\$LATEST", "g:\$LATEST", "g:live"/)
    await store.functions.publish(versionOf('f'), auditOf('function.update', 'f'))
    await store.functions.publish(versionOf('g'), auditOf('function.update', 'g'))
    const aliased = store.secrets.delete('p', 'token', auditOf('secret.delete', 'token'))
    await rejects(aliased, 'conflict', /it is used by "g:live"\./)
    await store.aliases.delete('p', 'g', 'live', auditOf('alias.delete', 'g'))
    await store.secrets.delete('p', 'token', auditOf('secret.delete', 'token'))
    assert.deepEqual(await store.secrets.list('p'), [])
    const gone = store.secrets.delete('p', 'token', auditOf('secret.delete', 'token'))
    await rejects(gone, 'not_found', /Secret "token" does not exist/)
  })
}

function pagingContract(contract: Contract): void {
  contract('functions.list pages by name and stays stable while functions come and go', async (store) => {
    for (const name of ['a', 'b', 'c', 'd', 'e']) {
      await store.functions.create(versionOf(name), auditOf('function.create', name))
    }
    const first = await store.functions.list('p', { limit: 2 })
    assert.deepEqual(
      first.items.map((item) => item.record.name),
      ['a', 'b'],
    )
    await store.functions.delete('p', 'b', auditOf('function.delete', 'b'))
    await store.functions.create(versionOf('aa'), auditOf('function.create', 'aa'))
    await store.functions.create(versionOf('cc'), auditOf('function.create', 'cc'))
    const rest = await all((page) => store.functions.list('p', page), 2, first.nextCursor)
    assert.deepEqual(
      rest.map((item) => item.record.name),
      ['c', 'cc', 'd', 'e'],
    )
    const whole = await store.functions.list('p', { limit: 5 })
    assert.equal(whole.items.length, 5)
    assert.notEqual(whole.nextCursor, null)
    assert.equal((await store.functions.list('p', { limit: 6 })).nextCursor, null)
  })

  contract('functions.versions pages newest first while versions are published', async (store) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    for (let i = 0; i < 4; i++) await store.functions.publish(versionOf('f'), auditOf('function.update', 'f'))
    const first = await store.functions.versions('p', 'f', { limit: 2 })
    assert.deepEqual(
      first.items.map((version) => version.number),
      [5, 4],
    )
    await store.functions.publish(versionOf('f'), auditOf('function.update', 'f'))
    const rest = await all((page) => store.functions.versions('p', 'f', page), 2, first.nextCursor)
    assert.deepEqual(
      rest.map((version) => version.number),
      [3, 2, 1],
    )
  })

  contract('list refuses a cursor that is not its own, and a limit out of range', async (store) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    await store.functions.create(versionOf('g'), auditOf('function.create', 'g'))
    const { nextCursor } = await store.functions.list('p', { limit: 1 })
    assert.ok(nextCursor !== null)
    for (const cursor of ['', 'nonsense', `${nextCursor}=`, Buffer.from('versions:x').toString('base64url')]) {
      const error = await rejects(store.functions.versions('p', 'f', { limit: 1, cursor }), 'invalid', /Invalid cursor/)
      assert.equal(error.field, 'cursor')
    }
    await rejects(store.audit.list('p', { limit: 1, cursor: nextCursor }), 'invalid', /Invalid cursor/)
    const padded = store.functions.list('p', { limit: 1, cursor: `${nextCursor}=` })
    await rejects(padded, 'invalid', /Invalid cursor/)
    for (const limit of [0, -1, 1.5, 1_001]) {
      const error = await rejects(store.functions.list('p', { limit }), 'invalid', /Invalid limit/)
      assert.equal(error.field, 'limit')
    }
  })
}

function auditContract(contract: Contract): void {
  contract('audit.list tells newest first who did what, and only of its project', async (store, clock) => {
    await store.functions.create(versionOf('f'), auditOf('function.create', 'f'))
    clock.advance(7)
    await store.functions.delete('p', 'f', auditOf('function.delete', 'f'))
    const { items } = await store.audit.list('p', { limit: 10 })
    assert.deepEqual(
      items.map((entry) => entry.action),
      ['function.delete', 'function.create', 'project.create'],
    )
    const [newest] = items
    assert.ok(newest !== undefined)
    const { seq, ...rest } = newest
    assert.ok(seq > (items[1]?.seq ?? Infinity))
    assert.deepEqual(rest, {
      time: clock.nowMs(),
      project: 'p',
      actor: 'key1',
      action: 'function.delete',
      target: 'f',
      detail: { why: 'test' },
    })
    const paged = await all((page) => store.audit.list('p', page), 1, undefined)
    assert.deepEqual(paged, items)
    assert.deepEqual((await store.audit.list('other', { limit: 10 })).items, [])
  })

  contract('audit holds an entry for each mutation that happened and none for one that failed', async (store) => {
    const before = (await store.audit.list('p', { limit: 100 })).items.length
    const outcomes = await Promise.allSettled([
      store.functions.create(versionOf('f'), auditOf('function.create', 'f')),
      store.functions.create(versionOf('f'), auditOf('function.create', 'f')),
      store.functions.publish(versionOf('missing'), auditOf('function.update', 'missing')),
      store.secrets.set('p', 's', Uint8Array.of(1), auditOf('secret.set', 's')),
      store.keys.revoke('p', 'missing', auditOf('key.revoke', 'missing')),
    ])
    const kept = outcomes.filter((outcome) => outcome.status === 'fulfilled').length
    assert.equal(kept, 2)
    const { items } = await store.audit.list('p', { limit: 100 })
    assert.equal(items.length, before + kept)
  })

  contract('an audit entry that cannot be written takes its mutation with it', async (store) => {
    const cycle: Record<string, unknown> = {}
    cycle['self'] = cycle
    const audit = { ...auditOf('function.create', 'f'), detail: cycle }
    await rejects(store.functions.create(versionOf('f'), audit), 'internal', /Internal error/)
    assert.equal(await store.functions.get('p', 'f'), null)
  })
}

function concurrencyContract(contract: Contract): void {
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

async function rejects(promise: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<AppError> {
  const error = await promise.then(
    () => assert.fail(`Expected ${code}, but the call succeeded.`),
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof AppError, `Expected an AppError, got ${String(error)}`)
  assert.equal(error.code, code, error.message)
  assert.match(error.message, message)
  return error
}

/** Every item from `cursor` on. */
async function all<T>(
  list: (page: PageRequest) => Promise<Page<T>>,
  limit: number,
  cursor: string | null | undefined,
): Promise<T[]> {
  const items: T[] = []
  for (let next = cursor; next !== null;) {
    const page = await list(next === undefined ? { limit } : { limit, cursor: next })
    assert.ok(page.items.length <= limit)
    items.push(...page.items)
    next = page.nextCursor
  }
  return items
}
