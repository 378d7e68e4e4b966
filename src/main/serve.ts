import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { createLocalAgent } from '../agent/local-agent.ts'
import { openArtifactStore } from '../artifact/store.ts'
import { createControl, type ControlOptions } from '../control/control.ts'
import { openReceiptLog } from '../control/receipts.ts'
import { secretSource } from '../control/secrets.ts'
import { activeVersions } from '../control/versions.ts'
import { openVault } from '../control/vault.ts'
import type { Agent, AgentStatus, HostServices } from '../domain/agent.ts'
import type { ArtifactStore } from '../domain/artifact.ts'
import { systemClock as clock } from '../domain/clock.ts'
import { toAppError } from '../domain/error.ts'
import type { Control } from '../domain/control.ts'
import type { Arch } from '../domain/function.ts'
import type { Store } from '../domain/store.ts'
import { Undo } from '../domain/undo.ts'
import { openOrigins } from '../origin/origins.ts'
import { openObjectServer } from '../origin/s3-objects.ts'
import { HeldBytes, heldBytesMax, urlHeldBytesMax } from '../http/held-bytes.ts'
import { createHttpServer, type HttpServer } from '../http/server.ts'
import type { TlsPair } from '../http/server-settings.ts'
import type { UrlServer } from '../http/url-server.ts'
import { openSqliteStore } from '../store/sqlite/store.ts'
import { ensureAdminKey } from './admin-key.ts'
import { appVersion } from './app.ts'
import { openBuilding } from './building.ts'
import { openDrivers, type OpenedDrivers } from './drivers.ts'
import { serviceFolder } from './images.ts'
import { isolationPolicy, refuseLess } from './isolation.ts'
import { originSettings } from './origin-settings.ts'
import { openLauncher, publish } from './launcher.ts'
import { releaseLock } from './lock.ts'
import { createLogger } from './logger.ts'
import { apiKeyFile, removeServerFile, serverFile, writeByRename, type ServerFacts } from './platform-files.ts'
import { ProbeVerdicts } from './probe-verdicts.ts'
import { liveCatalog, type LiveCatalog } from './runtimes.ts'
import { onShutdown } from './shutdown.ts'
import { startReport, type StartFacts } from './start-report.ts'
import { checkTls, reloadTls, type ReloadOptions } from './tls.ts'
import { placeText, serveUrls } from './url-serving.ts'
import { tlsVariables, type ServeOptions } from './serve-options.ts'

/* hearth up, second stage: the platform itself, without privileges. All wiring is on this page, in the order things depend on each other. */

const {
  config,
  user,
  runtimes: builds,
  vmms,
  toolchains,
  packageTools,
} = JSON.parse(process.argv[2] ?? '{}') as ServeOptions
const hasColors = process.stderr.isTTY && (process.env['NO_COLOR'] ?? '') === ''
const format = config.logFormat === 'auto' ? (process.stderr.isTTY ? 'text' : 'json') : config.logFormat
const logger = createLogger({ level: config.logLevel, format, hasColors, write: (line) => process.stderr.write(line) })
const arch: Arch = process.arch === 'arm64' ? 'arm64' : 'x86_64'

const { poolSize, vmPoolSize, vmFunctionPoolSize, vmPrespawn, streamReplyMib } = config
const poolSizes = { poolSize, vmPoolSize, vmFunctionPoolSize, vmPrespawn }

/** After this long the end itself is what hangs. */
const endMsMax = 10_000

/** Invocations have ended by then; what is left are idle or stuck connections. */
const closeMsMax = 1_000

async function start(undo: Undo): Promise<void> {
  const data = (name: string): string => path.join(config.data, name)
  undo.add('lock', () => releaseLock(config.data))
  const launcher = openLauncher()
  const tls = readTls()

  const vault = openVault({ file: config.masterKeyFile === '' ? data('master.key') : config.masterKeyFile })
  const store = await openSqliteStore({ file: data('hearth.db'), clock, logger })
  undo.add('store', () => store.close())
  const artifacts = await openArtifactStore({ folder: config.data, logger })
  undo.add('artifacts', () => artifacts.close())
  const receipts = await openReceiptLog({ folder: data('receipts'), clock, logger })
  undo.add('receipts', () => receipts.close())
  const runtimes = liveCatalog(builds, { toolchains, cacheFile: data('runtimes-found.json') })
  const opened = await openDrivers(config, launcher, {
    logger,
    vmms,
    hasServiceUser: user !== null,
    probeBuild: () => runtimes.list()[0] ?? null,
    verdicts: new ProbeVerdicts(serviceFolder(config.cache, 'verdicts'), logger),
  })
  undo.add('drivers', () => opened.close())
  // Before anybody asks for an image. A cache that other platforms of this user share is left to `hearth image prune`.
  await opened.images?.prune({ keep: user === null ? null : builds })

  // An Instance's own calls come in over its channel: they are served by the HTTP side, which exists only further down.
  let hostServices: HostServices = { open: () => false }
  const building = openBuilding({ runtimes, toolchains, packageTools, folders: config, logger })
  const agent = createLocalAgent({
    node: os.hostname(),
    arch,
    drivers: opened.drivers,
    isolation: isolationPolicy(config),
    images: opened.images,
    runtimes: building.runtimes,
    artifacts,
    secrets: secretSource({ store, vault }),
    survivors: { versions: activeVersions(store), sweep: () => opened.sweep() },
    hostServices: building.services(() => hostServices),
    outcomes: { record: () => {} },
    logger,
    folders: { instances: data('instances'), logs: data('logs'), snapshots: data('snapshots') },
    memoryMib: config.memoryMib === 0 ? Math.floor((machineMemoryMib() * 3) / 4) : config.memoryMib,
    ...poolSizes,
    names: { apiUrl: 'http://127.0.0.1:9010', region: 'local', accountId: '000000000000' },
  })
  undo.add('agent', () => agent.close())
  const status = await registered(agent, opened)

  const rules = { arch, version: appVersion, isolation: isolationPolicy(config), ...openOutside(), streamReplyMib }
  // Builds run in processes: not where the operator demands machines.
  const builder = config.isolation === 'vm' ? undefined : building.builder({ agent, artifacts, clock, arch })
  const about = { ...rules, ...(builder && { builder }) }
  const control = await createControl({ store, artifacts, agent, runtimes, vault, receipts, clock, logger, ...about })
  const newKey = await ensureAdminKey(apiKeyFile(config.data), { store, vault })
  const served = await serveHttp(control, { undo, tls })
  hostServices = served.hostServices

  onShutdown(async (signal) => {
    logger.info('platform.drain', { signal, drainMs: config.drainMs })
    await control.drain(clock.nowMs() + config.drainMs)
    await end(undo)
    logger.info('platform.end')
  })
  process.on('SIGHUP', () => void refreshed(runtimes, { read: opened.read, servers: served.servers }))
  const lost = config.isolation === 'vm' ? [] : opened.lost
  await announce({ ...served, newKey, status, lost }, { launcher, undo })
  void tidyUp(control, { store, artifacts }).catch((error: unknown) => logger.error('check.failed', { error }))
}

/** What is fetched from others, and where objects are. */
function openOutside(): Pick<ControlOptions, 'origins' | 'objects'> {
  const options = { ...originSettings(config), clock, logger }
  return { origins: openOrigins(options), objects: openObjectServer(options) }
}

/** What the machine has now: interpreters, and a renewed certificate. */
async function refreshed(runtimes: LiveCatalog, tls: Pick<ReloadOptions, 'read' | 'servers'>): Promise<void> {
  if (config.tlsCert !== '') await reloadTls({ files: config, logger, ...tls })
  await runtimes.refresh().catch((error: unknown) => logger.error('runtimes.failed', { error }))
}

/** The API, and functions' own URLs apart from it. */
async function serveHttp(
  control: Control,
  { undo, tls }: { undo: Undo; tls: TlsPair | null },
): Promise<{ url: string; urlsUrl: string; hostServices: HostServices; servers: readonly [UrlServer, HttpServer] }> {
  const held = new HeldBytes({ bytesMax: heldBytesMax })
  const urlHeld = new HeldBytes({ bytesMax: urlHeldBytesMax, whole: held })
  const { place: urlPlace, server: urls } = await serveUrls({
    config,
    control,
    logger,
    tls,
    undo,
    closeMs: closeMsMax,
    held: urlHeld,
  })
  const about = { control, logger, version: appVersion, urlPlace, held }
  const http = await createHttpServer({ ...about, ...(tls !== null && { tls }) })
  undo.add('http', () => http.close(closeMsMax))
  const { host } = config
  const port = await http.listen({ host, port: config.port })
  const url = urlOf({ isTls: tls !== null, host, port })
  return { url, urlsUrl: placeText(urlPlace), hostServices: http.hostServices, servers: [urls, http] }
}

/** Throws driver_failed where less would isolate than the operator asked for. */
async function registered(agent: Agent, { lost }: OpenedDrivers): Promise<AgentStatus> {
  const first = await agent.register()
  const status = config.isolation === 'vm' ? await agent.status({ mustProbe: true }) : first
  refuseLess(config, { drivers: status.drivers, lost })
  return status
}

/** What this process may count on: the machine's memory, or less where a container has a limit. */
function machineMemoryMib(): number {
  const constrained = process.constrainedMemory()
  const bytes = constrained > 0 ? Math.min(os.totalmem(), constrained) : os.totalmem()
  return bytes / 2 ** 20
}

/** Tells everybody who waits or looks for the platform that it serves: server.json, the ready file, the log, the terminal. */
async function announce(
  { url, urlsUrl, newKey, status, lost }: Pick<StartFacts, 'url' | 'urlsUrl' | 'newKey' | 'status' | 'lost'>,
  { launcher, undo }: { launcher: net.Socket | null; undo: Undo },
): Promise<void> {
  const apiKey = apiKeyFile(config.data)
  const facts: ServerFacts = { url, urlsUrl, apiKeyFile: apiKey, pid: process.pid, version: appVersion }
  const text = `${JSON.stringify(facts)}\n`
  await writeByRename(serverFile(config.data), text, 0o600)
  undo.add('server file', () => removeServerFile(config.data))
  const startMs = Math.round(process.uptime() * 1_000)
  const [dataFolder, runsAs] = [config.data, user?.name ?? null]
  // On a terminal the report says all of it.
  if (format === 'json')
    logger.info('platform.start', { url, urlsUrl, dataFolder, startMs, version: appVersion, user: runsAs })
  const report = {
    url,
    urlsUrl,
    data: dataFolder,
    apiKeyFile: facts.apiKeyFile,
    newKey,
    user: runsAs,
    status,
    lost,
    startMs,
  }
  process.stderr.write(startReport(report, hasColors))
  // Last, so that whoever waits for it finds all that was said of the start.
  if (config.readyFile !== '') await publish(launcher, config.readyFile, text)
}

/** Off the way to readiness: a large data folder takes a while to read. First what is not needed goes, which nobody wants to know about. */
async function tidyUp(
  control: Control,
  { store, artifacts }: { store: Store; artifacts: ArtifactStore },
): Promise<void> {
  await control.tidy()
  for (const problem of await store.check()) logger.error('store.damaged', { problem })
  for (const { digest, problem } of await artifacts.verify()) logger.error('artifact.damaged', { digest, problem })
}

/** A URL that works on this machine: an address that means "all of them" is reached at loopback. */
function urlOf({ isTls, host, port }: { isTls: boolean; host: string; port: number }): string {
  const name = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '[::1]' : net.isIPv6(host) ? `[${host}]` : host
  return `${isTls ? 'https' : 'http'}://${name}:${port}`
}

/** What stage one read for us; gone from the environment before anything else could see it. */
function readTls(): TlsPair | null {
  const { [tlsVariables.cert]: cert, [tlsVariables.key]: key } = process.env
  delete process.env[tlsVariables.cert]
  delete process.env[tlsVariables.key]
  if (cert === undefined || key === undefined) return null
  const { validTo, ...pair } = checkTls({ cert, key }, config)
  if (Date.parse(validTo) < clock.nowMs()) logger.warn('tls.expired', { file: config.tlsCert, validTo })
  return pair
}

/** Undoes everything, newest first. Closing the driver's channel makes the launcher end this process: with its exit already under way,
 *  signals change nothing. */
async function end(undo: Undo): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.removeAllListeners(signal).on(signal, () => {})
  const timer = setTimeout(() => process.exit(9), endMsMax)
  await undo.run().catch((error: unknown) => logger.error('platform.end.failed', { error }))
  clearTimeout(timer)
}

process.on('unhandledRejection', (error) => logger.error('platform.bug', { error }))

const undo = new Undo()
try {
  await start(undo)
} catch (thrown) {
  const { message, detail, code } = toAppError(thrown)
  logger.debug('platform.start.failed', { error: thrown })
  process.stderr.write(`hearth: ${message}\n${detail === undefined ? '' : `${detail}\n`}`)
  await end(undo)
  process.exit(code === 'invalid' ? 2 : code === 'conflict' ? 5 : 9)
}
