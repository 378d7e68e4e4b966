import type { ManualClock } from '../../src/domain/clock.ts'
import { defaultConfig } from '../../src/domain/default-config.ts'
import type { CodeOrigin } from '../../src/domain/code-source.ts'
import type { PinnedLayer } from '../../src/domain/layer.ts'
import type { AuditDraft, NewVersion, Page, PageRequest, Store } from '../../src/domain/store.ts'
import assert from 'node:assert/strict'

/** Declares one test over an empty store that has the project `p`. */
export type Contract = (title: string, body: (store: Store, clock: ManualClock) => Promise<void>) => void

export function auditOf(action: string, target: string): AuditDraft {
  return { actor: 'key1', action, target, detail: { why: 'test' } }
}

export function versionOf(
  functionName: string,
  options: {
    secrets?: Record<string, string>
    code?: string
    origin?: CodeOrigin
    layers?: readonly PinnedLayer[]
  } = {},
): NewVersion {
  return {
    project: 'p',
    functionName,
    config: {
      ...defaultConfig('x86_64'),
      description: 'Says hello.',
      runtime: 'node24',
      handler: 'index.handler',
      env: { GREETING: 'hello' },
      secrets: options.secrets ?? {},
    },
    codeDigest: `sha256:${(options.code ?? 'a').repeat(64)}`,
    codeBytes: 1_234,
    codeOrigin: options.origin ?? null,
    layers: options.layers ?? [],
    runtimeId: 'node24',
    runtimeVersion: '24.1.0',
    runtimeDigest: `sha256:${'b'.repeat(64)}`,
    policyDigest: `sha256:${'c'.repeat(64)}`,
  }
}

/** Every item from `cursor` on. */
export async function all<T>(
  list: (page: PageRequest) => Promise<Page<T>>,
  limit: number,
  cursor: string | null | undefined,
): Promise<T[]> {
  const items: T[] = []
  for (let next = cursor; next !== null;) {
    const page = await list(next === undefined ? { limit } : { limit, cursor: next })
    assert.ok(page.items.length <= limit)
    items.push(...page.items)
    next = page.nextCursor
  }
  return items
}
