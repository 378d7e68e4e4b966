import type { Arch, FunctionConfig } from './function.ts'
import { limits } from './limits.ts'

/** Of Functions whose handler a shim calls. */
export const directContract = {
  contract: 'handler',
  command: [],
  port: limits.port.default,
} as const satisfies Partial<FunctionConfig>

/** What a Function has before its user says anything; `runtime` and `handler` are still to be named. */
export function defaultConfig(arch: Arch): FunctionConfig {
  return {
    description: '',
    runtime: '',
    handler: '',
    ...directContract,
    instanceConcurrency: limits.instanceConcurrency.default,
    memoryMib: limits.memoryMib.default,
    timeoutMs: limits.timeoutMs.default,
    initTimeoutMs: limits.initTimeoutMs.default,
    concurrency: limits.concurrency.default,
    ephemeralMib: limits.ephemeralMib.default,
    env: {},
    secrets: {},
    network: 'none',
    isolation: 'auto',
    reuse: 'sequential',
    snapshot: 'runtime',
    arch,
    freezeAfterMs: limits.freezeAfterMs.default,
    keepAliveMs: limits.keepAliveMs.default,
    layers: [],
    permissions: [],
  }
}
