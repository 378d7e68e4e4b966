import type { Agent } from '../domain/agent.ts'
import type { Version } from '../domain/function.ts'

/** Picks the node for an attempt. One agent so far; with more the order is: idle Instance, snapshot there, code cached there, least loaded. */
export interface Placement {
  pick(version: Version): Agent
}

/** Everything runs on the one agent of this machine. */
export function singleNode(agent: Agent): Placement {
  return { pick: () => agent }
}
