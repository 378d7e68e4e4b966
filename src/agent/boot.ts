import { Undo } from '../domain/undo.ts'
import { AppError } from '../domain/error.ts'
import type { Clock } from '../domain/clock.ts'
import type { Driver, Prespawned, Sandbox } from '../domain/driver.ts'
import type { Logger } from '../domain/logger.ts'
import type { Snapshot, SnapshotKind } from '../domain/snapshot.ts'
import type { InstanceHandle } from './handles.ts'
import { Instance } from './instance.ts'
import type { InstanceOptions } from './instance-options.ts'
import type { Place } from './place.ts'
import { timedPhase, type TimedPhase } from './start-phases.ts'
import { join } from 'node:path'

export interface BootContext {
  readonly node: string
  readonly clock: Clock
  readonly logger: Logger
  readonly instancesFolder: string
  readonly logBytesPerSecond: number
  readonly openService: InstanceOptions['openService']
  /** Lower-case letters and digits, new each time and not to be guessed. */
  readonly newToken: () => string
}

/** A rung of the ladder that did not hold, and why. */
export interface Refusal {
  readonly kind: SnapshotKind
  readonly why: string
}

/** How the sandbox comes to be; `refused`: the stronger rungs that were tried before, for the receipt. */
export type Origin =
  | {
      readonly kind: 'boot'
      readonly refused: readonly Refusal[]
      /** Where a snapshot of it will be kept, for one that is booted to be saved. */
      readonly saveTo?: string
    }
  | {
      readonly kind: 'restore'
      readonly snapshot: Snapshot
      readonly refused: readonly Refusal[]
      /** What a function snapshot has mounted. */
      readonly codeImage: string | null
      /** A VMM started ahead, with the instance id it was started for. */
      readonly spare?: { readonly id: string; readonly prespawned: Prespawned }
    }

/** A runtime that has not said HELLO after this is not going to: 500 times the usual. */
const bootMsMax = 15_000
/** A guest's kernel and runtime under emulation, several at a time on two cores. */
const vmBootMsMax = 60_000

/** A sandbox with a runtime that has said HELLO and knows no user code yet, or only what its function snapshot holds.
 *  Throws what `Driver.boot` and `restore` throw, and driver_failed when HELLO does not come. Leaves nothing behind then. */
export async function bootInstance(context: BootContext, place: Place, origin: Origin): Promise<Instance> {
  const { clock } = context
  const spare = origin.kind === 'restore' ? origin.spare : undefined
  const id = spare?.id ?? newInstanceId(context.newToken)
  const epoch = context.newToken()
  const undo = new Undo()
  const fromMs = clock.monotonicMs()
  const limitMs = place.driver.capabilities.isVm ? vmBootMsMax : bootMsMax
  try {
    // 1. Sandbox: namespaces, cgroups, private root, runtime started; or a machine.
    const sandbox = await makeSandbox(context, place, { origin, id, epoch, deadlineMs: clock.nowMs() + limitMs })
    undo.add('sandbox', async () => void (await sandbox.kill()))
    const spawnedMs = clock.monotonicMs()
    // 2. Links, then HELLO.
    const instance = makeInstance(context, { id, epoch, place, origin, sandbox })
    undo.add('instance', async () => void (await instance.kill()))
    await helloInTime(instance, clock, limitMs)
    const greetedMs = clock.monotonicMs()
    // When in the spawn the network came is not told: its time counts as the last part.
    const networkFromMs = spawnedMs - Math.min(sandbox.networkMs ?? 0, spawnedMs - fromMs)
    instance.bootPhases = [
      ...makingPhases(origin, { fromMs, toMs: networkFromMs }),
      ...(sandbox.networkMs === undefined ? [] : [timedPhase('network', { fromMs: networkFromMs, toMs: spawnedMs })]),
      timedPhase('runtime_boot', { fromMs: spawnedMs, toMs: greetedMs }),
    ]
    undo.disarm()
    context.logger.debug('instance.boot.done', {
      instanceId: id,
      runtime: place.build.id,
      origin: origin.kind,
      bootMs: greetedMs - fromMs,
    })
    return instance
  } catch (error) {
    await undo.run().catch((cause: unknown) => {
      context.logger.error('instance.boot.undo.failed', { instanceId: id, error: String(cause) })
    })
    throw error
  }
}

/** Of a restore, starting the VMM is a part, unless that was done ahead. */
function makingPhases(origin: Origin, span: { fromMs: number; toMs: number }): TimedPhase[] {
  if (origin.kind === 'boot') return [timedPhase('sandbox', span)]
  const restore = timedPhase('restore', { ...span, source: 'snapshot' })
  if (origin.spare === undefined) return [restore]
  return [timedPhase('sandbox', { fromMs: span.fromMs, toMs: span.fromMs, source: 'pool' }), restore]
}

export function newInstanceId(newToken: () => string): string {
  return `i-${newToken().slice(0, 16)}`
}

async function makeSandbox(
  { instancesFolder }: BootContext,
  { driver, build: runtime, memoryMib }: Place,
  of: { origin: Origin; id: string; epoch: string; deadlineMs: number },
): Promise<Sandbox> {
  const { origin, id: instanceId, epoch, deadlineMs } = of
  const folder = join(instancesFolder, instanceId)
  if (origin.kind === 'boot') {
    const isForSnapshot = origin.saveTo !== undefined
    const spec = { instanceId, epoch, runtime, folder: origin.saveTo ?? folder, memoryMib, isForSnapshot }
    return driver.boot(spec, { deadlineMs })
  }
  const { snapshot, codeImage, spare } = origin
  const prespawned = spare === undefined ? {} : { prespawned: spare.prespawned }
  const restore = driver.restore?.(
    snapshot,
    { instanceId, epoch, runtime, folder, codeImage, ...prespawned },
    { deadlineMs },
  )
  if (restore === undefined) throw new AppError('driver_failed', `Driver ${driver.name} has no snapshots.`)
  return restore
}

function makeInstance(
  context: BootContext,
  of: { id: string; epoch: string; place: Place; origin: Origin; sandbox: Sandbox },
): Instance {
  const { node, clock, logger, logBytesPerSecond, openService } = context
  const { id, epoch, place, origin, sandbox } = of
  const { driver, build } = place
  const { capabilities } = driver
  return new Instance({
    ...{ id, epoch, build, sandbox, node, clock, logger, logBytesPerSecond, openService },
    from: {
      record: {
        driver: driver.name,
        vmm: vmmText(driver),
        snapshot: capabilities.isVm ? originText(origin) : null,
      },
      isRestored: origin.kind === 'restore',
      isRefused: origin.refused.length > 0,
      mayPause: capabilities.pause,
      outlivesAgent: capabilities.isVm,
    },
  })
}

/** An Instance around a sandbox that an earlier agent made; HELLO with `epoch` is to come. */
export function takeOverInstance(
  { node, clock, logger, logBytesPerSecond, openService }: BootContext,
  of: { epoch: string; place: Place; sandbox: Sandbox; handle: InstanceHandle },
): Instance {
  const { epoch, place, sandbox, handle } = of
  const { instance: id, createdAt, record } = handle
  return new Instance({
    ...{ id, epoch, build: place.build, sandbox, node, clock, logger, logBytesPerSecond, openService },
    takenOver: { createdAt },
    from: {
      ...{ record, isRestored: wasRestored(record.snapshot), isRefused: false },
      mayPause: place.driver.capabilities.pause,
      outlivesAgent: place.driver.capabilities.isVm,
    },
  })
}

/** `qemu 7.2.22 (tcg)`. */
export function vmmText({ capabilities: { vmm } }: Driver): string | null {
  return vmm === null ? null : `${vmm.name} ${vmm.version} (${vmm.accelerator})`
}

/** Of what `originText` wrote. */
function wasRestored(text: string | null): boolean {
  return text !== null && /^(function|runtime)(,|$)/.test(text)
}

/** `function`, `runtime`, `none`; `refused: <why>` for a cold boot that should not have been one, `runtime, function refused: <why>`. */
function originText(origin: Origin): string {
  const whys = origin.refused.map(({ kind, why }) => `${kind} refused: ${why}`)
  if (origin.kind === 'restore') return [origin.snapshot.kind, ...whys].join(', ')
  if (origin.refused.length === 1) return `refused: ${origin.refused[0]?.why}`
  return whys.length === 0 ? 'none' : whys.join(', ')
}

export async function helloInTime(instance: Instance, clock: Clock, limitMs: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const fail = (why: string): void =>
      reject(
        new AppError('driver_failed', `Cannot boot instance "${instance.id}" (${instance.build.id}): ${why}`, {
          detail: instance.bootOutput,
          retryable: true,
        }),
      )
    const timer = clock.schedule(limitMs, () => fail(`no HELLO within ${limitMs} ms.`))
    instance.hello.then(resolve, (error: unknown) => fail(error instanceof Error ? error.message : String(error)))
    void instance.hello.finally(() => timer.cancel()).catch(() => {})
  })
}
