import { styleText } from 'node:util'
import { notProbed, type AgentStatus } from '../domain/agent.ts'
import type { EnforcedFeature } from '../domain/driver.ts'

export interface StartFacts {
  readonly url: string
  /** Where functions' own URLs are. */
  readonly urlsUrl: string
  readonly data: string
  readonly apiKeyFile: string
  /** Set at the very first start of this data folder: shown once. */
  readonly newKey: string | null
  readonly user: string | null
  readonly status: AgentStatus
  /** Why functions that ask for nothing do not run in microVMs, a sentence for each driver. */
  readonly lost: readonly string[]
  readonly startMs: number
}

/** What an operator wants to know at start: where it is, what holds, what is lost. */
export function startReport(facts: StartFacts, hasColors: boolean): string {
  const paint = (style: Parameters<typeof styleText>[0], text: string): string =>
    hasColors ? styleText(style, text, { validateStream: false }) : text
  const { status } = facts
  const runtimes = status.runtimes.map(({ id, version }) => `${id} (${version})`).join(', ')
  const rows: [string, string][] = [
    ['URLs', `${facts.urlsUrl}/fn/NAME/, ${facts.urlsUrl.replace('://', '://NAME.')}/`],
    ['data', facts.data],
    [
      'API key',
      facts.newKey === null ? facts.apiKeyFile : `${facts.newKey}  (shown once; kept in ${facts.apiKeyFile})`,
    ],
    ['runs as', facts.user === null ? 'the user who started it' : `${facts.user}, without privileges`],
    ['runtimes', runtimes === '' ? 'none found: see "hearth runtime list"' : runtimes],
    ...status.drivers.map(({ name, works, detail }): [string, string] => [
      'driver',
      `${name}: ${detail === notProbed ? '' : works ? 'works. ' : 'does not work. '}${detail}`,
    ]),
  ]
  const lost = status.drivers.flatMap(({ enforced }) => enforced).filter(({ enforced }) => !enforced)
  const lines = rows.map(([name, value]) => `  ${name.padEnd(9)} ${value}`)
  const losses = byReason(lost).map(
    ([reason, features]) => `  ${paint('yellow', 'not enforced')} ${features.join(', ')}: ${reason}`,
  )
  if (facts.lost.length > 0) {
    const [head, ...rest] = ['no microVMs by default', ...facts.lost.map((why) => `    ${why}`)]
    losses.push(`  ${paint('yellow', 'not chosen')}   ${head}:`, ...rest)
  }
  if (losses.length > 0) losses.push('  "hearth doctor" says what helps.')
  const head = `Hearth is ready at ${paint('bold', facts.url)} after ${(facts.startMs / 1000).toFixed(2)} s`
  return `${[head, ...lines, ...losses].join('\n')}\n`
}

const reasonLengthMax = 120

/** Features that are lost for the same reason, under the first sentence of it. */
function byReason(lost: readonly EnforcedFeature[]): readonly (readonly [string, readonly string[]])[] {
  const groups = Map.groupBy(lost, ({ detail }) => {
    const sentence = detail.replace(/\. .*$/s, '.')
    return sentence.length > reasonLengthMax ? `${sentence.slice(0, reasonLengthMax)} ...` : sentence
  })
  return [...groups].map(([reason, features]) => [reason, features.map(({ feature }) => feature)])
}
