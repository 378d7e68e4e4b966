import type { HostServices } from '../domain/agent.ts'
import type { Instance } from './instance.ts'
import type { Duplex } from 'node:stream'

/** Opens a host service for `instance` under the identity of its Version; false refuses. An Instance without a Version has no identity. */
export function openHostService(
  services: HostServices,
  service: string,
  { instance, stream }: { instance: Instance; stream: Duplex },
): boolean {
  const { version } = instance
  if (version === null) return false
  const identity = {
    project: version.project,
    functionName: version.functionName,
    version: version.number,
    instance: instance.id,
    scopes: version.config.permissions,
  }
  return services.open(service, identity, stream)
}
