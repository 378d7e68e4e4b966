import { randomBytes } from 'node:crypto'
import type { Clock } from '../domain/clock.ts'
import type { BootContext } from './boot.ts'
import { openHostService } from './host-service.ts'
import type { LocalAgentOptions } from './local-agent-options.ts'

const logBytesPerSecondDefault = 4 * 1024 * 1024

/** What every boot of an agent with `options` has in common. */
export function bootContextOf(options: LocalAgentOptions, clock: Clock): BootContext {
  const {
    node,
    logger,
    folders,
    hostServices,
    logBytesPerSecond = logBytesPerSecondDefault,
    newToken = () => randomBytes(16).toString('hex'),
  } = options
  return {
    ...{ node, clock, logger, logBytesPerSecond, newToken },
    instancesFolder: folders.instances,
    openService: (service, instance, stream) => openHostService(hostServices, service, { instance, stream }),
  }
}
