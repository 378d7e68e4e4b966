import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { createLocalAgent } from '../../src/agent/local-agent.ts'
import { Layout } from '../../src/artifact/layout.ts'
import { openArtifactStore } from '../../src/artifact/store.ts'
import { createControl } from '../../src/control/control.ts'
import { openReceiptLog } from '../../src/control/receipts.ts'
import { secretSource } from '../../src/control/secrets.ts'
import { newKeyId, openVault, type Vault } from '../../src/control/vault.ts'
import type { Agent, HostServices } from '../../src/domain/agent.ts'
import type { ArtifactStore } from '../../src/domain/artifact.ts'
import type { Builder } from '../../src/domain/build.ts'
import { systemClock } from '../../src/domain/clock.ts'
import type { Origins } from '../../src/domain/code-source.ts'
import type { Control } from '../../src/domain/control.ts'
import { silentLogger } from '../../src/domain/logger.ts'
import type { ObjectServer } from '../../src/domain/object-server.ts'
import type { RuntimeBuild, RuntimeCatalog } from '../../src/domain/runtime.ts'
import type { Store } from '../../src/domain/store.ts'
import { FakeDriver, type FakeDriverOptions } from '../../src/driver/fake/fake-driver.ts'
import { openOrigins } from '../../src/origin/origins.ts'
import { HeldBytes, heldBytesMax } from '../../src/http/held-bytes.ts'
import type { BodyWatchOptions } from '../../src/http/body-watch.ts'
import { bodyTimes as apiBodyTimes } from '../../src/http/server-settings.ts'
import { createHttpServer } from '../../src/http/server.ts'
import { createUrlServer } from '../../src/http/url-server.ts'
import { runtimeCatalog } from '../../src/image/runtimes.ts'
import { createLogger } from '../../src/main/logger.ts'
import { openSqliteStore } from '../../src/store/sqlite/store.ts'
import type { Target } from './functions.ts'
import { scriptedAgent, type ScriptedAgent } from './scripted-agent.ts'

/** Everything between HTTP and an agent, for real. */
export interface ApiInProcess<A extends Agent = Agent> extends Target {
  readonly control: Control
  readonly agent: A
  readonly store: Store
  readonly artifacts: ArtifactStore
  /** Where those lie on the disk. */
  readonly layout: Layout
  /** Where functions' URLs are served. */
  readonly urlsPort: number
  /** What the platform wrote to its own log, as JSON lines. */
  readonly logged: readonly string[]
  close(): Promise<void>
}

export interface InProcess extends ApiInProcess {
  readonly driver: FakeDriver
}

const build = (id: RuntimeBuild['id'], family: RuntimeBuild['family'], digit: string): RuntimeBuild => ({
  id,
  family,
  version: id.replace(/^\D+/, ''),
  executable: `/usr/bin/${family}`,
  prefix: '',
  isBridged: false,
  digest: `sha256:${digit.repeat(64)}`,
  image: `sha256:${digit.repeat(64)}`,
})

interface Parts {
  readonly folder: string
  readonly artifacts: ArtifactStore
  readonly store: Store
  readonly vault: Vault
  readonly runtimes: RuntimeCatalog
  readonly hostServices: HostServices
}

/** Everything but processes: store, artifacts, control, agent and HTTP for real, sandboxes by the fake driver. For tests of the API. */
export async function startInProcess(
  options: { driver?: FakeDriverOptions; memoryMib?: number } = {},
): Promise<InProcess> {
  const driver = new FakeDriver(options.driver)
  const api = await assemble((parts) =>
    createLocalAgent({
      node: 'node-1',
      arch: 'x86_64',
      drivers: [driver],
      images: null,
      vmPoolSize: 1,
      vmFunctionPoolSize: 0,
      vmPrespawn: 0,
      runtimes: parts.runtimes,
      artifacts: parts.artifacts,
      secrets: secretSource(parts),
      hostServices: parts.hostServices,
      outcomes: { record: () => {} },
      folders: {
        instances: path.join(parts.folder, 'instances'),
        logs: path.join(parts.folder, 'logs'),
        snapshots: path.join(parts.folder, 'snapshots'),
      },
      memoryMib: options.memoryMib ?? 8_192,
      poolSize: 1,
      names: { apiUrl: 'http://127.0.0.1:9010', region: 'local', accountId: '000000000000' },
      clock: systemClock,
      logger: silentLogger,
    }),
  )
  return { ...api, driver }
}

/** What stays of an earlier one, and what is played. */
interface ScriptedOptions {
  /** Keeps what an earlier one left, and is left in place. */
  readonly folder?: string
  readonly origins?: Origins
  readonly objects?: ObjectServer | null
  readonly builder?: (artifacts: ArtifactStore) => Builder
  /** What requests and replies may hold together; half of it for URLs. */
  readonly heldBytes?: number
  readonly bodyTimes?: BodyWatchOptions
}

/** The same over an agent that does what a script says. */
export async function startScripted(
  agent: ScriptedAgent = scriptedAgent(),
  options: ScriptedOptions = {},
): Promise<ApiInProcess<ScriptedAgent>> {
  return assemble(() => agent, options)
}

async function assemble<A extends Agent>(
  makeAgent: (parts: Parts) => A,
  {
    folder: kept,
    origins: played,
    objects = null,
    builder,
    heldBytes = heldBytesMax,
    bodyTimes = apiBodyTimes,
  }: ScriptedOptions = {},
): Promise<ApiInProcess<A>> {
  const folder = kept ?? (await mkdtemp(path.join(os.tmpdir(), 'hearth-api-')))
  const logged: string[] = []
  const logger = createLogger({ level: 'debug', format: 'json', hasColors: false, write: (line) => logged.push(line) })
  const common = { clock: systemClock, logger }
  const vault = openVault({ file: path.join(folder, 'master.key') })
  const store = await openSqliteStore({ file: path.join(folder, 'hearth.db'), ...common })
  const artifactsFolder = path.join(folder, 'artifacts')
  const artifacts = await openArtifactStore({ folder: artifactsFolder, logger })
  const receipts = await openReceiptLog({ folder: path.join(folder, 'receipts'), ...common })
  const runtimes = runtimeCatalog([
    build('node26', 'node', '1'),
    build('python3.13', 'python', '2'),
    build('provided', 'provided', '3'),
  ])
  let services: HostServices | null = null
  const hostServices: HostServices = {
    open: (service, identity, stream) => services?.open(service, identity, stream) ?? false,
  }
  const agent = makeAgent({ folder, artifacts, store, vault, runtimes, hostServices })
  const about = { arch: 'x86_64', version: 'test' } as const
  const real = openOrigins({
    s3: { endpoint: null, region: 'us-east-1', secret: null, mustHaveSecret: false },
    allowsPrivate: false,
    insecureRegistries: [],
    imageTotalMs: 10_000,
    patience: { retryMs: 1_000, stallMs: 1_000, totalMs: 10_000 },
    ...common,
  })
  const parts = { store, artifacts, agent, runtimes, vault, origins: played ?? real, objects, receipts }
  const building = builder === undefined ? {} : { builder: builder(artifacts) }
  const control = await createControl({ ...parts, ...about, ...common, ...building })
  const id = newKeyId()
  const audit = { actor: 'test', action: 'key.create', target: id, detail: {} }
  await store.keys.create({ id, project: 'default', name: 'admin', scopes: ['admin'] }, audit)
  const held = new HeldBytes({ bytesMax: heldBytes })
  const urlHeld = new HeldBytes({ bytesMax: heldBytes / 2, whole: held })
  const urls = createUrlServer({ control, logger, held: urlHeld })
  const urlPlace = await urls.listen({ host: '127.0.0.1', port: 0 })
  const server = await createHttpServer({ control, logger, version: 'test', urlPlace, held, bodyTimes })
  services = server.hostServices
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  return {
    url: `http://127.0.0.1:${port}`,
    urlsPort: urlPlace.port,
    apiKey: vault.tokenFor(id),
    control,
    agent,
    store,
    artifacts,
    layout: new Layout(artifactsFolder),
    logged,
    async close() {
      await urls.close(500)
      await server.close(500)
      await control.drain(0)
      await agent.close()
      await receipts.close()
      await artifacts.close()
      await store.close()
      if (kept === undefined) await rm(folder, { recursive: true, force: true })
    },
  }
}
