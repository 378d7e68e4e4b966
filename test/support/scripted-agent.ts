import type {
  Agent,
  AgentEvent,
  AgentStatus,
  AttemptResult,
  ExecuteCall,
  ExecuteRequest,
  ExecuteUp,
} from '../../src/domain/agent.ts'
import { versionKey, type Version, type VersionRef } from '../../src/domain/function.ts'

/** What the agent does with one execution: it calls `receive` now or later. */
export type Script = (
  request: ExecuteRequest,
  receive: (frame: ExecuteUp) => void,
  payload: () => Uint8Array,
) => { onCancel?: (reason: string) => void } | void

export interface ScriptedAgent extends Agent {
  script: Script
  readonly requests: ExecuteRequest[]
  readonly evicted: Parameters<Agent['evict']>[0][]
  /** Functions it was told to end everything of. */
  readonly removed: Parameters<Agent['remove']>[0][]
  /** Versions it says it keeps files of; `forget` takes away from it. */
  files: VersionRef[]
  readonly forgotten: string[]
  /** Lines of the platform's own: `FUNCTION: TEXT`. */
  readonly notes: string[]
  /** Digests it says it uses. */
  readonly used: Set<string>
  readonly deployed: { version: Version; mustLoad: boolean }[]
  /** What a deploy does; it succeeds when this resolves. */
  onDeploy: (version: Version) => Promise<void>
  emit(event: AgentEvent): void
}

const status: AgentStatus = {
  node: 'node-1',
  arch: 'x86_64',
  draining: false,
  memoryMib: 1_024,
  freeMib: 512,
  drivers: [],
  runtimes: [],
  instances: { booted: 1, ready: 2, busy: 3, frozen: 4 },
}

/** A result as an agent would send it, with `changes`. */
export function attemptResult(changes: Partial<AttemptResult> = {}): AttemptResult {
  return {
    outcome: 'succeeded',
    effect: 'completed',
    attempt: {
      node: 'node-1',
      instance: 'i-1',
      driver: 'scripted',
      vmm: null,
      snapshot: null,
      arch: 'x86_64',
      startedAt: 1,
      endedAt: 2,
      outcome: changes.outcome ?? 'succeeded',
    },
    start: 'warm',
    coldCause: null,
    crashReason: null,
    error: null,
    refused: null,
    phases: [],
    durationMs: 1,
    memoryPeakMib: 10,
    ephemeralBytesPeak: 0,
    logTail: null,
    ...changes,
  }
}

/** Answers at once with the event. */
export const echo: Script = (_request, receive, payload) => {
  receive({ type: 'started', instance: 'i-1', start: 'warm', coldCause: null })
  receive({ type: 'data', chunk: payload() })
  receive({ type: 'result', result: attemptResult() })
}

/** An Agent without Instances: each execution does what `script` says once its event is whole. For tests of what stands before an agent. */
export function scriptedAgent(script: Script = echo): ScriptedAgent {
  const watchers = new Set<(event: AgentEvent) => void>()
  const agent: ScriptedAgent = {
    script,
    requests: [],
    evicted: [],
    removed: [],
    files: [],
    forgotten: [],
    notes: [],
    used: new Set(),
    deployed: [],
    onDeploy: async () => {},
    emit(event) {
      for (const watcher of watchers) watcher(event)
    },
    register: async () => status,
    async deploy(version, { mustLoad = false } = {}) {
      agent.deployed.push({ version, mustLoad })
      await agent.onDeploy(version)
    },
    prepare: async () => {},
    execute: (request, receive) => played(agent, request, receive),
    cancel: async () => false,
    get: async () => null,
    list: async () => [],
    attach: async () => null,
    // It has no Instances.
    async evict(filter) {
      agent.evicted.push(filter)
      return 0
    },
    async remove(of) {
      agent.removed.push(of)
    },
    kept: async (of) =>
      agent.files.filter(
        (ref) => of === undefined || (ref.project === of.project && ref.functionName === of.functionName),
      ),
    async forget(ref) {
      agent.forgotten.push(versionKey(ref))
      agent.files = agent.files.filter((each) => versionKey(each) !== versionKey(ref))
    },
    uses: async (digest) => agent.used.has(digest),
    drain: async () => {},
    logs: {
      tail: async () => [],
      async *follow() {},
      note: (_project, functionName, { text }) => void agent.notes.push(`${functionName}: ${text}`),
      delete: async () => {},
    },
    machines: async () => [
      { driver: 'qemu', machines: 3, memoryBytes: 5_000, guestAvailableBytes: null },
      { driver: 'firecracker', machines: 2, memoryBytes: 4_000, guestAvailableBytes: 1_000 },
    ],
    health: async () => ({ ok: true, detail: 'scripted' }),
    status: async () => status,
    watch(receive) {
      watchers.add(receive)
      return () => watchers.delete(receive)
    },
    close: async () => {},
  }
  return agent
}

/** An execution by the script, once its event is whole. */
function played(
  agent: Pick<ScriptedAgent, 'script'>,
  request: ExecuteRequest,
  receive: (frame: ExecuteUp) => void,
): ExecuteCall {
  let payload: Uint8Array = new Uint8Array(0)
  let hooks: { onCancel?: (reason: string) => void } | void = undefined
  return {
    send(frame) {
      if (frame.type === 'cancel') return hooks?.onCancel?.(frame.reason)
      if (frame.type !== 'data') return undefined
      payload = payload.length === 0 ? frame.chunk : Buffer.concat([payload, frame.chunk])
      if (frame.last) hooks = agent.script(request, receive, () => payload)
      return undefined
    },
  }
}
