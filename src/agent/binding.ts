import type { ContainerFacts } from '../domain/container-image.ts'
import type { BindSpec, BoundFiles } from '../domain/driver.ts'
import { versionKey, type FunctionConfig, type Version } from '../domain/function.ts'
import { execWrapper } from '../domain/runtime.ts'
import type { BindMessage } from '../wire/messages.ts'
import type { Code } from './code-cache.ts'

/** How this installation presents itself to functions that expect AWS. */
export interface PlaceNames {
  readonly apiUrl: string
  readonly region: string
  readonly accountId: string
}

/** Memory that comes with one whole CPU on Lambda: the weight of a function grows with its memory as there. */
const mibPerCpu = 1_769

/** What the driver enforces for `version`. */
export function bindSpec(version: Version, code: Code): BindSpec {
  const { memoryMib, network, ephemeralMib } = version.config
  return {
    codeFolder: code.folder,
    codeImage: code.image,
    cacheFolder: code.cacheFolder,
    layerFolders: code.layerFolders,
    ...(code.container !== null && { rootUser: code.container.user }),
    memoryMib,
    cpuShare: Math.max(64, Math.round((memoryMib / mibPerCpu) * 1024)),
    network,
    ephemeralMib,
  }
}

/** Where programs find the libraries that come with layers; the first is of interpreters that lie at /runtime. */
function layerEnv({ layers }: Version): Readonly<Record<string, string>> {
  return layers.length === 0 ? {} : { LD_LIBRARY_PATH: '/runtime/lib:/var/task/lib:/opt/lib' }
}

/** What the runtime is told of `version`. Holds secrets: never log it. */
export function bindMessage(
  version: Version,
  of: {
    instance: string
    files: BoundFiles
    secretEnv: Readonly<Record<string, string>> | null
    names: PlaceNames
    purpose: 'serve' | 'compile'
    container: ContainerFacts | null
  },
): BindMessage {
  const { config, functionName, project } = version
  const { container } = of
  const env =
    of.purpose === 'compile' ? {} : { ...layerEnv(version), ...container?.env, ...config.env, ...of.secretEnv }
  const day = new Date().toISOString().slice(0, 10).replaceAll('-', '/')
  return {
    function: functionName,
    version: String(version.number),
    project,
    handler: config.handler,
    memoryMib: config.memoryMib,
    timeoutMs: config.timeoutMs,
    env,
    ...of.files,
    ...(container !== null && { taskRoot: container.workdir }),
    ...of.names,
    logGroup: `/hearth/${versionKey(version).split(':')[0]}`,
    logStream: `${day}/[${version.number}]${of.instance}`,
    purpose: of.purpose,
    contract: config.contract,
    command: container === null ? wrapped(config, env) : config.command.length > 0 ? config.command : container.command,
    port: config.port,
  }
}

/** The command of a runtime client takes the place of Lambda's runtimes, which a wrapper is started before. */
function wrapped(
  { command, contract }: FunctionConfig,
  { [execWrapper]: wrapper = '' }: Readonly<Record<string, string>>,
): readonly string[] {
  return contract === 'runtime-api' && command.length > 0 && wrapper !== '' ? [wrapper, ...command] : command
}
