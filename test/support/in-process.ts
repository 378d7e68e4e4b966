import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { createLocalAgent } from '../../src/agent/local-agent.ts'
import { openArtifactStore } from '../../src/artifact/store.ts'
import { createControl } from '../../src/control/control.ts'
import { openReceiptLog } from '../../src/control/receipts.ts'
import { secretSource } from '../../src/control/secrets.ts'
import { newKeyId, openVault } from '../../src/control/vault.ts'
import type { Agent, HostServices } from '../../src/domain/agent.ts'
import { systemClock } from '../../src/domain/clock.ts'
import type { Control } from '../../src/domain/control.ts'
import { silentLogger } from '../../src/domain/logger.ts'
import type { RuntimeBuild } from '../../src/domain/runtime.ts'
import { FakeDriver, type FakeDriverOptions } from '../../src/driver/fake/fake-driver.ts'
import { createHttpServer } from '../../src/http/server.ts'
import { runtimeCatalog } from '../../src/image/runtimes.ts'
import { openSqliteStore } from '../../src/store/sqlite/store.ts'
import type { Target } from './functions.ts'

export interface InProcess extends Target {
  readonly control: Control
  readonly driver: FakeDriver
  readonly agent: Agent
  close(): Promise<void>
}

const build = (id: RuntimeBuild['id'], family: RuntimeBuild['family'], digit: string): RuntimeBuild => ({
  id,
  family,
  version: id.replace(/^\D+/, ''),
  executable: `/usr/bin/${family}`,
  prefix: '',
  digest: `sha256:${digit.repeat(64)}`,
})

/** Everything but processes: store, artifacts, control, agent and HTTP for real, sandboxes by the fake driver. For tests of the API. */
export async function startInProcess(
  options: { driver?: FakeDriverOptions; memoryMib?: number } = {},
): Promise<InProcess> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-api-'))
  const common = { clock: systemClock, logger: silentLogger }
  const vault = openVault({ file: path.join(folder, 'master.key') })
  const store = await openSqliteStore({ file: path.join(folder, 'hearth.db'), ...common })
  const artifacts = await openArtifactStore({ folder: path.join(folder, 'artifacts'), logger: silentLogger })
  const receipts = await openReceiptLog({ folder: path.join(folder, 'receipts'), ...common })
  const driver = new FakeDriver(options.driver)
  const runtimes = runtimeCatalog([build('node26', 'node', '1'), build('python3.13', 'python', '2')])
  let services: HostServices | null = null
  const agent = createLocalAgent({
    node: 'node-1',
    arch: 'x86_64',
    driver,
    runtimes,
    artifacts,
    secrets: secretSource({ store, vault }),
    hostServices: { open: (service, identity, stream) => services?.open(service, identity, stream) ?? false },
    outcomes: { record: () => {} },
    folders: { instances: path.join(folder, 'instances'), logs: path.join(folder, 'logs') },
    memoryMib: options.memoryMib ?? 8_192,
    poolSize: 1,
    names: { apiUrl: 'http://127.0.0.1:9010', region: 'local', accountId: '000000000000' },
    ...common,
  })
  const control = await createControl({
    store,
    artifacts,
    agent,
    runtimes,
    vault,
    receipts,
    arch: 'x86_64',
    hasVm: false,
    version: 'test',
    ...common,
  })
  const id = newKeyId()
  await store.keys.create(
    { id, project: 'default', name: 'admin', scopes: ['admin'] },
    { actor: 'test', action: 'key.create', target: id, detail: {} },
  )
  const server = await createHttpServer({ control, logger: silentLogger, version: 'test' })
  services = server.hostServices
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  return {
    url: `http://127.0.0.1:${port}`,
    apiKey: vault.tokenFor(id),
    control,
    driver,
    agent,
    async close() {
      await server.close(500)
      await agent.close()
      await receipts.close()
      await artifacts.close()
      await store.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
