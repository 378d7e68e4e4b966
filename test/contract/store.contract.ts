import { ManualClock } from '../../src/domain/clock.ts'
import type { Clock } from '../../src/domain/clock.ts'
import type { Store } from '../../src/domain/store.ts'
import { auditOf, type Contract } from './store-bench.ts'
import { functionsContract, versionsContract } from './store-functions.contract.ts'
import { pendingContract } from './store-pending.contract.ts'
import { aliasesContract } from './store-aliases.contract.ts'
import { projectsAndKeysContract } from './store-projects.contract.ts'
import { secretsContract } from './store-secrets.contract.ts'
import { layersContract } from './store-layers.contract.ts'
import { storageContract } from './store-storage.contract.ts'
import { urlsContract } from './store-urls.contract.ts'
import { pagingContract, auditContract } from './store-lists.contract.ts'
import { concurrencyContract } from './store-concurrency.contract.ts'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

/** Opens an empty store for one test, and closes and removes it after that test. */
export type OpenStore = (t: TestContext, clock: Clock) => Promise<Store>

/** What every Store must do, whatever it is made of. */
export function storeContract(name: string, open: OpenStore): void {
  const contract: Contract = (title, body) => {
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
  storageContract(contract)
  layersContract(contract)
  urlsContract(contract)
  pagingContract(contract)
  auditContract(contract)
  concurrencyContract(contract)
}
