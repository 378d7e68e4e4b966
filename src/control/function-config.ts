import { createHash } from 'node:crypto'
import type { Digest } from '../domain/artifact.ts'
import type { Caller } from '../domain/control.ts'
import { defaultConfig } from '../domain/default-config.ts'
import type { IsolationPolicy } from '../domain/driver.ts'
import { AppError, invalid } from '../domain/error.ts'
import type { Arch, FunctionConfig } from '../domain/function.ts'
import { checkLayers } from '../domain/layer.ts'
import { limits } from '../domain/limits.ts'
import { contracts, defaultContract, isProvided, type Contract, type RuntimeFamily } from '../domain/runtime.ts'
import { snapshotModes } from '../domain/snapshot.ts'
import { parseEnv, parseSecrets } from './function-env.ts'
import { inRange } from './in-range.ts'
import { grantable } from './scopes.ts'

/** Lambda's Runtime API, and the platform's own. */
const reservedPorts = [9_001, 9_010]

export interface ConfigContext {
  readonly caller: Caller
  /** Architecture of this platform's nodes. */
  readonly arch: Arch
  /** Whether any node can isolate in a microVM. */
  readonly hasVm: boolean
  /** What came of trying, for the message; empty where nothing was tried. */
  readonly vmDetail: string
  /** The operator's: `vm` refuses every other isolation. */
  readonly demand: IsolationPolicy['demand']
}

type Input = Partial<FunctionConfig>

/** A whole configuration from what the user gave over `base` (the current one, or the defaults). Throws invalid, naming field, value and range;
 *  forbidden when `permissions` are wider than the caller's own scopes. */
export function parseConfig(input: Input, base: FunctionConfig | null, context: ConfigContext): FunctionConfig {
  const merged = { ...(base ?? defaultConfig(context.arch)), ...withoutUndefined(input) }
  const contract = parseContract(input.contract, merged, base?.runtime === merged.runtime)
  const whole = (
    field:
      | 'memoryMib'
      | 'timeoutMs'
      | 'concurrency'
      | 'ephemeralMib'
      | 'initTimeoutMs'
      | 'freezeAfterMs'
      | 'keepAliveMs'
      | 'port',
  ): number => inRange(field, merged[field], limits[field])
  return {
    description: text('description', merged.description, 256),
    runtime: text('runtime', merged.runtime, 64),
    handler: contract === 'handler' ? parseHandler(merged.handler) : parseName(merged.handler),
    contract,
    command: parseCommand(merged.command, contract),
    port: parsePort(whole('port')),
    instanceConcurrency: parseInstanceConcurrency(merged, contract),
    memoryMib: whole('memoryMib'),
    timeoutMs: whole('timeoutMs'),
    initTimeoutMs: whole('initTimeoutMs'),
    concurrency: whole('concurrency'),
    ephemeralMib: whole('ephemeralMib'),
    freezeAfterMs: whole('freezeAfterMs'),
    keepAliveMs: whole('keepAliveMs'),
    env: parseEnv(merged.env, contract),
    secrets: parseSecrets(merged.secrets, merged.env, contract),
    network: oneOf('network', merged.network, ['none', 'egress']),
    isolation: parseIsolation(merged.isolation, context),
    reuse: oneOf('reuse', merged.reuse, ['sequential', 'never']),
    snapshot: parseSnapshot(input, merged, contract),
    arch: parseArch(merged.arch, context),
    layers: parseLayers(merged),
    permissions:
      input.permissions === undefined
        ? merged.permissions
        : grantable(context.caller, input.permissions, 'permissions'),
  }
}

/** Digest over what a Version may reach: network, secrets, permissions and isolation. */
export function policyDigest({ network, secrets, permissions, isolation }: FunctionConfig): Digest {
  const policy = JSON.stringify([
    network,
    Object.entries(secrets).toSorted(([a], [b]) => (a < b ? -1 : 1)),
    permissions.toSorted((a, b) => (a < b ? -1 : 1)),
    isolation,
  ])
  return `sha256:${createHash('sha256').update(policy).digest('hex')}`
}

/** Python needs `module.function`; Node takes `file` alone for fetch handlers. */
export function checkHandlerFor(
  family: RuntimeFamily,
  { handler, contract }: Pick<FunctionConfig, 'handler' | 'contract'>,
): void {
  if (contract === 'handler' && family === 'python' && !handler.slice(handler.lastIndexOf('/') + 1).includes('.'))
    throw invalid('handler', handler, 'MODULE.FUNCTION for Python, e.g. main.handler')
}

function withoutUndefined(input: Input): Input {
  return Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined))
}

function text(field: string, value: unknown, max: number): string {
  if (typeof value !== 'string' || value.length > max || value.includes('\0'))
    throw invalid(field, value, `a text of at most ${max} characters`)
  return value
}

function oneOf<T extends string>(field: string, value: unknown, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate === value)
  if (found === undefined) throw invalid(field, value, `one of ${allowed.join(', ')}`)
  return found
}

/** As said; else what it was, where the runtime is what it was or has that; else the runtime's own. */
function parseContract(
  given: unknown,
  { runtime, contract }: Pick<FunctionConfig, 'runtime' | 'contract'>,
  isSameRuntime: boolean,
): Contract {
  const own = defaultContract(runtime)
  if (given === undefined && isSameRuntime) return contract
  if (given === undefined) return contract === 'handler' || (own !== 'handler' && contract !== own) ? own : contract
  const asked = oneOf('contract', given, contracts)
  if (asked === 'handler' && isProvided(runtime))
    throw invalid(
      'contract',
      given,
      'runtime-api, http or azure',
      `Contract "handler" is not for runtime "${runtime}", which has no handlers of its own: take runtime-api, http or azure.`,
    )
  return asked
}

/** Handed to the program as $_HANDLER, for what it makes of it. */
function parseName(value: unknown): string {
  const name = text('handler', value, 128)
  if (/\s/.test(name)) throw invalid('handler', value, 'a text without spaces')
  return name
}

function parseCommand(value: unknown, contract: Contract): readonly string[] {
  const { wordsMax, bytesMax } = limits.command
  const allowed = `a list of at most ${wordsMax} texts, ${bytesMax} bytes together, without NUL`
  if (!Array.isArray(value) || value.length > wordsMax) throw invalid('command', value, allowed)
  const words: unknown[] = value
  const isText = (word: unknown): word is string => typeof word === 'string' && !word.includes('\0')
  if (!words.every(isText) || Buffer.byteLength(words.join(' ')) > bytesMax || words[0] === '')
    throw invalid('command', value, allowed)
  if (words.length > 0 && contract === 'handler')
    throw invalid(
      'command',
      value,
      'empty with contract handler',
      'A handler is called by its runtime, not started: leave the command out, or take contract runtime-api, http or azure.',
    )
  return words
}

/** The bridge and the platform's own API listen in the same sandbox. */
function parsePort(port: number): number {
  if (reservedPorts.includes(port)) throw invalid('port', port, `any but ${reservedPorts.join(' and ')}`)
  return port
}

function parseInstanceConcurrency(
  { instanceConcurrency: value, reuse }: Pick<FunctionConfig, 'instanceConcurrency' | 'reuse'>,
  contract: Contract,
): number {
  const wanted = inRange('instanceConcurrency', value, limits.instanceConcurrency)
  if (wanted > 1 && contract !== 'http') throw invalid('instanceConcurrency', value, '1 with any contract but http')
  if (wanted > 1 && reuse === 'never') throw invalid('instanceConcurrency', value, '1 with reuse never')
  return wanted
}

/** A program of the user's own cannot be asked to make ready for a snapshot. */
function parseSnapshot(
  input: Input,
  { snapshot: value, isolation }: Pick<FunctionConfig, 'snapshot' | 'isolation'>,
  contract: Contract,
): FunctionConfig['snapshot'] {
  const mode = oneOf('snapshot', value, snapshotModes)
  // A Version may have both from before: what is asked for now is what counts.
  if (mode === 'function' && isolation === 'process' && (input.snapshot ?? input.isolation) !== undefined)
    throw invalid('snapshot', value, 'runtime or none with isolation process: microVMs alone start from snapshots')
  if (mode === 'function' && contract !== 'handler')
    throw invalid('snapshot', value, 'runtime or none with any contract but handler')
  return mode
}

/** What Lambda takes, `[^\s]+`, where it names a file below the code: the shims load it, and refuse what leads elsewhere once more. */
function parseHandler(value: unknown): string {
  const handler = text('handler', value, 128)
  const isBelow = /^[^\s\p{Cc}\p{Cs}]+$/u.test(handler) && !handler.startsWith('/') && !handler.includes('..')
  if (!isBelow || !/(^|\/)[^./]([^/]*[^./])?$/.test(handler))
    throw invalid(
      'handler',
      value,
      'FILE.EXPORT, e.g. index.handler or src/main.handler: a path below the code, without spaces or ".."',
    )
  return handler
}

function parseIsolation(value: unknown, { hasVm, vmDetail, demand }: ConfigContext): FunctionConfig['isolation'] {
  const isolation = oneOf('isolation', value, ['auto', 'process', 'vm'])
  if (isolation === 'process' && demand === 'vm')
    throw invalid(
      'isolation',
      value,
      'auto or vm',
      'Isolation "process" is not allowed here: the operator demands a microVM for every function (setting isolation: vm).',
    )
  if (isolation === 'vm' && !hasVm)
    throw new AppError(
      'invalid',
      'Isolation "vm" is not possible here: no microVM driver works on this platform, and it is never downgraded. See "hearth doctor".',
      { field: 'isolation', value, allowed: 'auto or process', detail: vmDetail },
    )
  return isolation
}

/** Layers lie below /opt, which is the image's own where there is one. */
function parseLayers({ layers, runtime }: Pick<FunctionConfig, 'layers' | 'runtime'>): readonly string[] {
  if (runtime === 'image' && layers.length > 0)
    throw invalid('layers', layers.join(', '), 'none with runtime image: put the files into the image')
  return checkLayers(layers)
}

function parseArch(value: unknown, context: ConfigContext): Arch {
  const arch = oneOf('arch', value, ['x86_64', 'arm64'])
  if (arch !== context.arch)
    throw invalid('arch', value, `${context.arch}, the only architecture of this platform's nodes`)
  return arch
}
