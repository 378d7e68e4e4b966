import { randomBytes } from 'node:crypto'
import type { SandboxChannels } from '../../domain/driver.ts'
import { AppError } from '../../domain/error.ts'
import type { RuntimeBuild } from '../../domain/runtime.ts'
import type { InitFailure, InitResume } from '../../wire/init-messages.ts'
import { InitLink } from '../../wire/init-link.ts'
import { WireError } from '../../wire/wire-error.ts'
import { runtimeArgv, runtimeEnv, shimMount } from '../runtime-command.ts'
import type { Machine } from './vmm.ts'

/** A guest that has been spoken to: its init, and the channels for the agent. */
export interface Guest {
  readonly init: InitLink
  readonly channels: SandboxChannels
  /** How the runtime ended, once it has; null when the machine went without a word. */
  readonly ended: Promise<InitFailure | null>
}

/** Processes and threads of the runtime and its children before `bind`; as in a sandboxed process. */
export const pidsMax = 512
/** Where images have the guest program. */
const guestPath = '/usr/lib/hearth/hearth-guest'
/** What the supervisor may send as LOG before it rests; the agent bounds it again. */
const logBytesPerSecond = 4 * 1024 * 1024

/** First words to a machine that has just been started: its init starts the runtime, whose HELLO comes over `channels.runtime`.
 *  Throws driver_failed with the guest's own reason. */
export async function greet(
  machine: Machine,
  of: { instanceId: string; epoch: string; runtime: RuntimeBuild; memoryMib: number },
): Promise<Guest> {
  const { instanceId, epoch, runtime, memoryMib } = of
  const { guest, greeted } = await open(machine, { epoch, isRestored: false })
  await greeted
  guest.init.configure({
    instance: instanceId,
    nowMs: Date.now(),
    logBytesPerSecond,
    epoch,
    argv: runtimeArgv(runtime, { shimFolder: shimMount, bridge: guestPath }),
    env: { ...runtimeEnv(runtime, epoch), HEARTH_SNAPSHOT: '1' },
    hostname: instanceId,
    pidsMax,
    memoryMib,
    seed: newSeed(),
  })
  return guest
}

/** First words to a machine that was restored: clock, randomness and name become its own. Throws driver_failed with the guest's own reason. */
export async function resume(machine: Machine, of: { instanceId: string; epoch: string }): Promise<Guest> {
  const { guest } = await open(machine, { epoch: of.epoch, isRestored: true })
  await guest.init.resume(resumeMessage(of, false))
  await guest.init.syncClock()
  return guest
}

/** First words to a machine that an earlier platform left, paused or not: only its host is another. What it said to that one may still come over the
 *  channels, before HELLO with `epoch`. Throws driver_failed with the guest's own reason. */
export async function takeOver(machine: Machine, of: { instanceId: string; epoch: string }): Promise<Guest> {
  const options = { epoch: of.epoch, isRestored: true }
  if (!machine.connectsPaused) await machine.resume()
  const { guest } = await open(machine, options)
  if (machine.connectsPaused) await machine.resume()
  await guest.init.resume(resumeMessage(of, true))
  await guest.init.syncClock()
  return guest
}

function resumeMessage({ instanceId, epoch }: { instanceId: string; epoch: string }, isTakenOver: boolean): InitResume {
  return { nowMs: Date.now(), seed: newSeed(), epoch, instance: instanceId, hostname: instanceId, isTakenOver }
}

async function open(
  machine: Machine,
  options: { epoch: string; isRestored: boolean },
): Promise<{ guest: Guest; greeted: Promise<void> }> {
  const [init, supervisor, runtime] = await Promise.all([
    machine.connect('init'),
    machine.connect('supervisor'),
    machine.connect('runtime'),
  ])
  // Until the agent takes them over: their end shows on the init channel too.
  for (const channel of [supervisor, runtime]) channel.on('error', () => {})
  const greeting = Promise.withResolvers<void>()
  const ending = Promise.withResolvers<InitFailure | null>()
  greeting.promise.catch(() => {})
  const link = new InitLink(init, {
    ...options,
    handlers: {
      onHello: () => greeting.resolve(),
      onExit: (exit) => ending.resolve(exit),
      onFail: (failure) => {
        greeting.reject(refused(failure))
        supervisor.destroy(refused(failure))
        runtime.destroy(refused(failure))
      },
      onClosed: (error) => {
        greeting.reject(
          new AppError('driver_failed', `The microVM ended before it spoke: ${error?.message ?? 'no reason given'}.`),
        )
        ending.resolve(null)
        // A guest whose PID 1 breaks the protocol is not to be trusted on the other channels either: whoever holds them ends it.
        if (!(error instanceof WireError)) return
        const breach = new WireError(error.kind, `PID 1: ${error.message}`)
        for (const channel of [supervisor, runtime]) channel.destroy(breach)
      },
    },
  })
  return { guest: { init: link, channels: { runtime, supervisor }, ended: ending.promise }, greeted: greeting.promise }
}

function refused({ phase, errorMessage }: InitFailure): AppError {
  return new AppError('driver_failed', `The microVM could not ${phase}: ${errorMessage}`, { retryable: true })
}

function newSeed(): string {
  return randomBytes(32).toString('hex')
}
