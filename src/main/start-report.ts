import { styleText } from 'node:util'
import type { AgentStatus } from '../domain/agent.ts'

export interface StartFacts {
  readonly url: string
  readonly data: string
  readonly apiKeyFile: string
  /** Set at the very first start of this data folder: shown once. */
  readonly newKey: string | null
  readonly user: string | null
  readonly status: AgentStatus
  readonly startMs: number
}

/** What an operator wants to know at start: where it is, what holds, what is lost. */
export function startReport(facts: StartFacts, hasColors: boolean): string {
  const paint = (style: Parameters<typeof styleText>[0], text: string): string =>
    hasColors ? styleText(style, text, { validateStream: false }) : text
  const { status } = facts
  const runtimes = status.runtimes.map(({ id, version }) => `${id} (${version})`).join(', ')
  const rows: [string, string][] = [
    ['data', facts.data],
    [
      'API key',
      facts.newKey === null ? facts.apiKeyFile : `${facts.newKey}  (shown once; kept in ${facts.apiKeyFile})`,
    ],
    ['runs as', facts.user === null ? 'the user who started it' : `${facts.user}, without privileges`],
    ['runtimes', runtimes === '' ? 'none found: see "hearth runtime list"' : runtimes],
    ...status.drivers.map(({ name, works, detail }): [string, string] => [
      'driver',
      `${name}: ${works ? 'works' : 'does not work'}. ${detail}`,
    ]),
  ]
  const lost = status.drivers.flatMap(({ enforced }) => enforced).filter(({ enforced }) => !enforced)
  const lines = rows.map(([name, value]) => `  ${name.padEnd(9)} ${value}`)
  const losses = lost.map(({ feature, detail }) => `  ${paint('yellow', 'not enforced')} ${feature}: ${detail}`)
  const head = `Hearth is ready at ${paint('bold', facts.url)} after ${(facts.startMs / 1000).toFixed(2)} s`
  return `${[head, ...lines, ...losses].join('\n')}\n`
}
