import type { SecretSource } from '../domain/agent.ts'
import type { ArtifactStore } from '../domain/artifact.ts'
import type { Caller } from '../domain/control.ts'
import { invalid } from '../domain/error.ts'
import type { FunctionConfig } from '../domain/function.ts'
import { layerText, type PinnedLayer } from '../domain/layer.ts'
import type { RuntimeCatalog } from '../domain/runtime.ts'
import type { NewVersion, Store } from '../domain/store.ts'
import { demandRoom } from './bind-room.ts'
import type { Blobs } from './blobs.ts'
import type { PinnedCode } from './code-sources.ts'
import { checkHandlerFor, policyDigest } from './function-config.ts'
import { pinLayers } from './layers.ts'

interface DraftParts {
  readonly artifacts: ArtifactStore
  readonly runtimes: RuntimeCatalog
  readonly store: Store
  readonly blobs: Blobs
  readonly secrets: SecretSource
}

interface DraftInput {
  readonly name: string
  readonly config: FunctionConfig
  readonly code: PinnedCode
  /** Layers of the Version that this one builds on. */
  readonly baseLayers: readonly PinnedLayer[]
}

/** Does `work` with a Version without its number, whose layers stay meanwhile, also when they are deleted: until a row names them.
 *  Throws invalid for code, runtime, layers or secrets that are not there, and for more secrets than an Instance can be started with. */
export async function withDraft<T>(
  parts: DraftParts,
  caller: Caller,
  { input, work }: { input: DraftInput; work: (draft: NewVersion) => Promise<T> },
): Promise<T> {
  const draft = await draftVersion(parts, caller, input)
  const digests = draft.layers.map(({ digest }) => digest)
  return parts.blobs.holding(digests, async () => {
    for (const layer of draft.layers)
      if ((await parts.artifacts.stat(layer.digest)) === null)
        throw invalid('layers', layerText(layer), 'a layer version that was not deleted just now')
    return work(draft)
  })
}

async function draftVersion(
  { artifacts, runtimes, store, secrets }: DraftParts,
  caller: Caller,
  { name, config, code: { digest, origin }, baseLayers }: DraftInput,
): Promise<NewVersion> {
  const runtime = runtimes.resolve(config.runtime, config.contract)
  checkHandlerFor(runtime.family, config)
  const code = await artifacts.stat(digest)
  if (code === null) throw invalid('code.artifact', digest, 'a digest uploaded before by PUT /v1/artifacts/{sha256}')
  const layers = await pinLayers(store, caller, { config, base: baseLayers, runtime })
  const wanted = [...new Set(Object.values(config.secrets))]
  const { values } = await secrets.reveal(caller.project, wanted)
  const missing = wanted.find((secret) => !values.has(secret))
  if (missing !== undefined)
    throw invalid('secrets', missing, 'the name of a secret of this project; make it with "hearth secret set"')
  demandRoom(config, values)
  return {
    project: caller.project,
    functionName: name,
    config,
    codeDigest: digest,
    codeBytes: code.bytes,
    codeOrigin: origin,
    layers,
    runtimeId: runtime.id,
    runtimeVersion: runtime.version,
    runtimeDigest: runtime.digest,
    policyDigest: policyDigest(config),
  }
}

/** What the audit log keeps of a deploy: no environment values. */
export function summaryOf(draft: NewVersion): Record<string, unknown> {
  const { runtime, handler, memoryMib, timeoutMs, concurrency, network, layers } = draft.config
  return {
    code: draft.codeDigest,
    ...(draft.codeOrigin !== null && { source: draft.codeOrigin.source }),
    ...(layers.length > 0 && { layers }),
    runtime,
    runtimeVersion: draft.runtimeVersion,
    handler,
    memoryMib,
    timeoutMs,
    concurrency,
    network,
  }
}
