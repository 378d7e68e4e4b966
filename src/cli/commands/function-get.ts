import type { FunctionView } from '@hearth/sdk'
import { defineCommand } from '../command.ts'
import { fieldList, formatBytes, formatMs, formatTime, printable } from '../output.ts'

export default defineCommand({
  name: 'function get',
  summary: 'Show configuration, current version and figures of a function',
  args: { name: { about: 'function', completes: 'function' } },
  flags: {},
  examples: ['hearth function get process-image'],
  async run({ output, client }, { args }) {
    const found = await (await client()).getFunction({ name: args.name })
    if (output.isJson) output.json(found)
    else output.line(fieldList([...configuration(found), ...figures(found)]))
  },
})

function configuration(found: FunctionView): [string, string][] {
  return [
    ['name', found.name],
    ['description', printable(found.description)],
    ['version', `${found.version} of ${found.versionCount}`],
    ['state', stateText(found.state, found.stateReason)],
    [
      'update',
      found.update === null
        ? ''
        : `version ${found.update.version} ${stateText(found.update.state, found.update.reason)}`,
    ],
    ['runtime', `${found.runtimeId} (${found.runtimeVersion})`],
    ['handler', found.handler],
    ['memory', `${found.memoryMib} MB`],
    ['timeout', `${found.timeoutMs / 1_000} s (start: ${found.initTimeoutMs / 1_000} s)`],
    ['concurrency', String(found.concurrency)],
    ['ephemeral', `${found.ephemeralMib} MB`],
    ['network', found.network],
    ['isolation', `${found.isolation}, reuse ${found.reuse}, ${found.arch}`],
    ['idle', `frozen after ${found.freezeAfterMs} ms, kept ${found.keepAliveMs / 1_000} s`],
    ['env', printable(pairs(found.env))],
    ['secrets', pairs(found.secrets)],
    ['layers', found.layers.join(', ')],
    ['permissions', found.permissions.join(', ')],
    ['code', `${found.codeDigest} (${formatBytes(found.codeBytes)})`],
    ['from', originText(found.codeSource)],
    ['created', formatTime(found.createdAt)],
    ['updated', formatTime(found.updatedAt)],
  ]
}

function figures({ stats }: FunctionView): [string, string][] {
  const { invocations, errors, running, queued, durationMsP50: p50, durationMsP99: p99 } = stats
  if (invocations === 0) return [['calls', 'none since the platform started']]
  const rate = ((errors / invocations) * 100).toFixed(1)
  return [
    ['calls', `${invocations} (${errors} failed, ${rate} %), ${running} running, ${queued} queued`],
    ['duration', p50 === null || p99 === null ? '' : `p50 ${formatMs(p50)}, p99 ${formatMs(p99)}`],
    ['outcomes', counts(stats.outcomes)],
    ['cold starts', counts(stats.coldStarts)],
  ]
}

/** `failed: why`; a reason of many lines is cut to its first. */
function stateText(state: string, reason: string | null): string {
  const text = state === 'pending' ? 'is being prepared' : state
  return reason === null ? text : `${text}: ${reason.split('\n')[0]}`
}

function pairs(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ')
}

function counts(values: Readonly<Record<string, number>>): string {
  return Object.entries(values)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ')
}

/** Where the code was fetched from; empty when it was uploaded. */
function originText(origin: FunctionView['codeSource']): string {
  if (origin === null) return ''
  const { source, endpoint, etag, versionId, fetchedAt } = origin
  const facts = [
    ...(endpoint === null ? [] : [`at ${endpoint}`]),
    ...(versionId === null ? [] : [`version ${versionId}`]),
    // An image's is in its source.
    ...(etag === null || source.endsWith(etag) ? [] : [`etag ${etag}`]),
  ]
  return `${source} (${[...facts, formatTime(fetchedAt)].join(', ')})`
}
