import { driverContract } from '../../../test/contract/driver.contract.ts'
import { fakeBuild } from '../../../test/support/agent-rig.ts'
import type { Exit } from '../../domain/driver.ts'
import { FakeDriver } from './fake-driver.ts'
import type { FakeFaults } from './faults.ts'
import type { FakeMeta } from './fake-runtime.ts'

function handler(event: unknown, meta: FakeMeta): unknown {
  const { throw: message, exit } = event as { throw?: string; exit?: number }
  if (message !== undefined) throw new Error(message)
  if (exit === undefined) return event
  const ended: Exit = { code: exit, signal: null, oom: false }
  meta.exit(ended)
  return null
}

driverContract('fake', async () => {
  const faults: FakeFaults = {}
  const driver = new FakeDriver({ handler, faults })
  return {
    driver,
    build: fakeBuild,
    folder: '/nowhere',
    codeFolder: '/nowhere/code',
    codeImage: null,
    breakBoot: () => (faults.failBoot = { step: 'cgroup', times: 1 }),
    leftovers: async () => [...driver.alive.keys()],
    close: () => driver.close(),
  }
})
