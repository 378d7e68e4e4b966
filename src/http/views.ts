import type { AliasView, FunctionView as FunctionJson, Receipt as ReceiptJson, VersionView } from '@hearth/sdk'
import type { FunctionView } from '../domain/control.ts'
import type { Alias, DeployedVersion } from '../domain/function.ts'
import type { Receipt } from '../domain/invocation.ts'

/* Domain types as the JSON of the contract. Times stay epoch ms. */

export function versionJson(version: DeployedVersion): VersionView {
  return { ...versionFields(version), createdAt: version.createdAt }
}

export function functionJson({ record, version, stats }: FunctionView): FunctionJson {
  return {
    name: record.name,
    project: record.project,
    ...versionFields(version),
    versionCount: record.versionCount,
    update: record.update,
    createdAt: record.createdAt,
    updatedAt: record.updatedAt,
    stats: { ...stats, coldStarts: numbers(stats.coldStarts), outcomes: numbers(stats.outcomes) },
  }
}

export function aliasJson({ name, functionName, version, updatedAt }: Alias): AliasView {
  return { name, function: functionName, version, updatedAt }
}

export function receiptJson(receipt: Receipt): ReceiptJson {
  const { project: _project, ...rest } = receipt
  return { ...rest, attempts: [...receipt.attempts], phases: [...receipt.phases] }
}

function versionFields(version: DeployedVersion): Omit<VersionView, 'createdAt'> {
  const { config } = version
  return {
    function: version.functionName,
    version: version.number,
    state: version.state,
    stateReason: version.stateReason,
    ...config,
    env: { ...config.env },
    secrets: { ...config.secrets },
    layers: [...config.layers],
    permissions: [...config.permissions],
    command: [...config.command],
    runtimeId: version.runtimeId,
    runtimeVersion: version.runtimeVersion,
    runtimeDigest: version.runtimeDigest,
    codeDigest: version.codeDigest,
    codeSha256: Buffer.from(version.codeDigest.slice('sha256:'.length), 'hex').toString('base64'),
    codeBytes: version.codeBytes,
    codeSource: version.codeOrigin,
    policyDigest: version.policyDigest,
  }
}

function numbers(counts: Readonly<Partial<Record<string, number>>>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, count ?? 0]))
}
