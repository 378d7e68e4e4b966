import { urlLabel, type FunctionUrl, type UrlName } from '../domain/function-url.ts'

/** Where the server of function URLs is reached. */
export interface UrlPlace {
  readonly scheme: 'http' | 'https'
  readonly port: number
  /** Hosts are `LABEL.domain`; `localhost` unless the operator has a domain. */
  readonly domain: string
}

export function urlTexts(url: FunctionUrl, { scheme, port, domain }: UrlPlace): { url: string; pathUrl: string } {
  const label = urlLabel(url)
  return {
    url: `${scheme}://${label.toLowerCase()}.${domain}:${port}/`,
    pathUrl: `${scheme}://${domain}:${port}/fn/${label}/`,
  }
}

export interface UrlTarget extends UrlName {
  /** `/fn/LABEL` of a request by path, which the function does not see; empty by host. */
  readonly prefix: string
  /** Path and query for the function, as they came. */
  readonly target: string
}

const labelPattern = /^[a-z0-9_-]{1,128}$/

/** What `host` and `target` of a request mean; null = no function's. Nothing is decoded and no dot segment resolved: the function gets what came. */
export function urlTarget(host: string, target: string, domain: string): UrlTarget | null {
  const name = host.replace(/:\d{1,5}$/, '').toLowerCase()
  for (const known of new Set([domain, 'localhost'])) {
    if (!name.endsWith(`.${known}`)) continue
    const label = name.slice(0, -known.length - 1)
    return labelPattern.test(label) ? { label, isHost: true, prefix: '', target } : null
  }
  const [, prefix = '', label = '', rest = ''] = /^(\/fn\/([A-Za-z0-9_-]{1,128}))(?=[/?]|$)(.*)$/s.exec(target) ?? []
  if (label === '') return null
  return { label, isHost: false, prefix, target: rest.startsWith('/') ? rest : `/${rest}` }
}
