import { Undo } from '../domain/undo.ts'
import { AppError } from '../domain/error.ts'
import type { Clock } from '../domain/clock.ts'
import type { Driver, Sandbox } from '../domain/driver.ts'
import { limits } from '../domain/limits.ts'
import type { Logger } from '../domain/logger.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'
import { Instance, type InstanceOptions } from './instance.ts'
import { timedPhase } from './start-phases.ts'
import { join } from 'node:path'

export interface BootContext {
  readonly node: string
  readonly driver: Driver
  readonly clock: Clock
  readonly logger: Logger
  readonly instancesFolder: string
  readonly logBytesPerSecond: number
  readonly openService: InstanceOptions['openService']
  /** Lower-case letters and digits, new each time and not to be guessed. */
  readonly newToken: () => string
}

/** A runtime that has not said HELLO after this is not going to: 500 times the usual. */
const bootMsMax = 15_000

/** A sandbox with a runtime that has said HELLO and knows no user code yet.
 *  Throws what `Driver.boot` throws, and driver_failed when HELLO does not come. Leaves nothing behind then. */
export async function bootInstance(context: BootContext, build: RuntimeBuild): Promise<Instance> {
  const { clock, driver } = context
  const id = `i-${context.newToken().slice(0, 16)}`
  const epoch = context.newToken()
  const undo = new Undo()
  const fromMs = clock.monotonicMs()
  try {
    // 1. Sandbox: namespaces, cgroups, private root, runtime started.
    const sandbox = await driver.boot(
      {
        instanceId: id,
        epoch,
        runtime: build,
        folder: join(context.instancesFolder, id),
        memoryMib: limits.memoryMib.default,
        isForSnapshot: false,
      },
      { deadlineMs: clock.nowMs() + bootMsMax },
    )
    undo.add('sandbox', async () => void (await sandbox.kill()))
    const spawnedMs = clock.monotonicMs()
    // 2. Links, then HELLO.
    const instance = makeInstance(context, { id, epoch, build, sandbox })
    undo.add('instance', async () => void (await instance.kill()))
    await helloInTime(instance, clock)
    const greetedMs = clock.monotonicMs()
    // When in the spawn the network came is not told: its time counts as the last part.
    const networkFromMs = spawnedMs - Math.min(sandbox.networkMs ?? 0, spawnedMs - fromMs)
    instance.bootPhases = [
      timedPhase('sandbox', { fromMs, toMs: networkFromMs }),
      ...(sandbox.networkMs === undefined ? [] : [timedPhase('network', { fromMs: networkFromMs, toMs: spawnedMs })]),
      timedPhase('runtime_boot', { fromMs: spawnedMs, toMs: greetedMs }),
    ]
    undo.disarm()
    context.logger.debug('instance.boot.done', { instanceId: id, runtime: build.id, bootMs: greetedMs - fromMs })
    return instance
  } catch (error) {
    await undo.run().catch((cause: unknown) => {
      context.logger.error('instance.boot.undo.failed', { instanceId: id, error: String(cause) })
    })
    throw error
  }
}

function makeInstance(
  context: BootContext,
  of: { id: string; epoch: string; build: RuntimeBuild; sandbox: Sandbox },
): Instance {
  const { node, clock, logger, logBytesPerSecond, openService } = context
  return new Instance({ ...of, node, driver: context.driver.name, clock, logger, logBytesPerSecond, openService })
}

async function helloInTime(instance: Instance, clock: Clock): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const fail = (why: string): void =>
      reject(
        new AppError('driver_failed', `Cannot boot instance "${instance.id}" (${instance.build.id}): ${why}`, {
          detail: instance.bootOutput,
          retryable: true,
        }),
      )
    const timer = clock.schedule(bootMsMax, () => fail(`no HELLO within ${bootMsMax} ms.`))
    instance.hello.then(resolve, (error: unknown) => fail(error instanceof Error ? error.message : String(error)))
    void instance.hello.finally(() => timer.cancel()).catch(() => {})
  })
}
