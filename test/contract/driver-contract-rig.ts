import assert from 'node:assert/strict'
import { join } from 'node:path'
import { directContract } from '../../src/domain/default-config.ts'
import type { BindSpec, BootSpec, Driver, Sandbox } from '../../src/domain/driver.ts'
import type { RuntimeBuild } from '../../src/domain/runtime.ts'
import { HostLink } from '../../src/wire/link.ts'
import type { BindMessage } from '../../src/wire/messages.ts'

/* What the parts of the driver's contract share, and whoever else boots with a driver alone. */

/** What a driver's own test hands to the contract. */
export interface DriverHarness {
  readonly driver: Driver
  readonly build: RuntimeBuild
  /** For instance folders. */
  readonly folder: string
  /** Code whose handler `index.handler` answers its event, throws for `{throw}`, exits for `{exit}`. */
  readonly codeFolder: string
  /** The same as erofs, for drivers that take images. */
  readonly codeImage: string | null
  /** Makes the next boot fail; null where that cannot be arranged. */
  readonly breakBoot: (() => void) | null
  /** What is left of sandboxes on the machine: processes, cgroups, folders, sockets. Empty when nothing is. */
  leftovers(): Promise<readonly string[]>
  close(): Promise<void>
}

let epochCount = 0
export const bootBasics = { memoryMib: 256, isForSnapshot: false }

export interface Booted {
  readonly id: string
  readonly sandbox: Sandbox
  readonly link: HostLink
  readonly hello: { role: string; isBusy: boolean }
  readonly ready: Promise<void>
}

export type Start = (spec: BootSpec, options: { deadlineMs: number }) => Promise<Sandbox>

export async function bootOne(harness: DriverHarness, id: string, start?: Start, isTakenOver = false): Promise<Booted> {
  // Another each time: one that is taken over must not be believed under its old one.
  const epoch = `epoch-${id}-${epochCount++}`
  const { driver, build, folder } = harness
  const sandbox = await (start ?? driver.boot.bind(driver))(
    { ...bootBasics, instanceId: id, epoch, runtime: build, folder: join(folder, id) },
    { deadlineMs: Date.now() + 60_000 },
  )
  const configure = { instance: id, nowMs: Date.now(), logBytesPerSecond: 1_000_000 }
  const supervisor = sandbox.channels.supervisor
  if (supervisor !== null) supervisor.on('error', () => {}).resume()
  return new Promise((resolve, reject) => {
    let onReady: () => void = () => {}
    let onFailed: (error: Error) => void = () => {}
    const ready = new Promise<void>((yes, no) => {
      onReady = yes
      onFailed = no
    })
    ready.catch(() => {})
    const link: HostLink = new HostLink(sandbox.channels.runtime, {
      epoch,
      role: 'runtime',
      isTakenOver,
      handlers: {
        onHello: (hello) => {
          link.configure(configure)
          resolve({ id, sandbox, link, hello, ready })
        },
        onReady: () => onReady(),
        onInitFail: (error) => onFailed(new Error(error.errorMessage)),
        onLog: () => {},
        onOpen: () => false,
        onClosed: (error) => {
          onFailed(error ?? new Error('closed'))
          reject(error ?? new Error('closed before HELLO'))
        },
      },
    })
  })
}

export async function bind(
  { codeFolder, codeImage, build }: DriverHarness,
  { sandbox, link, ready, id }: Booted,
): Promise<void> {
  const spec: BindSpec = {
    codeFolder,
    codeImage,
    cacheFolder: null,
    layerFolders: [],
    memoryMib: 256,
    cpuShare: 1024,
    network: 'none',
    ephemeralMib: 64,
  }
  const files = await sandbox.bind(spec)
  const message: BindMessage = {
    function: 'contract',
    version: '1',
    project: 'default',
    handler: build.family === 'node' ? 'index.handler' : 'main.handler',
    memoryMib: 256,
    timeoutMs: 60_000,
    env: {},
    ...files,
    apiUrl: 'http://127.0.0.1:9010',
    region: 'local',
    accountId: '000000000000',
    logGroup: '/hearth/default/contract',
    logStream: id,
    purpose: 'serve',
    ...directContract,
  }
  link.bind(message)
  await ready
}

export async function invoke({ link }: Booted, event: unknown): Promise<string> {
  const parts: Buffer[] = []
  return new Promise((resolve, reject) => {
    const message = { id: 'one', deadlineMs: Date.now() + 60_000, contentType: 'application/json', traceparent: null }
    const stream = link.invoke(
      { ...message, kind: 'invoke' },
      {
        onHead: () => {},
        onData: (chunk) => void parts.push(chunk),
        onEnd: () => resolve(Buffer.concat(parts).toString()),
        onFail: (error) => reject(new Error(error.errorMessage)),
        onIdle: () => {},
      },
    )
    stream.write(Buffer.from(JSON.stringify(event)), true)
  })
}

export async function nothingLeft(harness: DriverHarness): Promise<void> {
  for (let tries = 0; tries < 20 && (await harness.leftovers()).length > 0; tries++) await pause(50)
  assert.deepEqual(await harness.leftovers(), [])
}

export const pause = async (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms))
