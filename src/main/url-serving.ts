import type { Control } from '../domain/control.ts'
import type { Logger } from '../domain/logger.ts'
import type { Undo } from '../domain/undo.ts'
import type { HeldBytes } from '../http/held-bytes.ts'
import type { TlsPair } from '../http/server-settings.ts'
import type { UrlPlace } from '../http/url-place.ts'
import { createUrlServer, type UrlServer } from '../http/url-server.ts'
import type { Config } from './config.ts'

interface UrlServing {
  readonly config: Config
  readonly control: Control
  readonly logger: Logger
  readonly tls: TlsPair | null
  readonly undo: Undo
  readonly closeMs: number
  readonly held: HeldBytes
}

/** Serves functions' URLs on their own port: the one asked for, else the one after the API's, or any where that is taken. */
export async function serveUrls({
  config,
  control,
  logger,
  tls,
  undo,
  closeMs,
  held,
}: UrlServing): Promise<{ place: UrlPlace; server: UrlServer }> {
  const { host, port, urlPort, urlDomain, urlRegion: region, streamRequestMib } = config
  const domain = urlDomain === '' ? {} : { domain: urlDomain.toLowerCase() }
  const server = createUrlServer({
    control,
    logger,
    held,
    region,
    streamRequestMib,
    ...domain,
    ...(tls !== null && { tls }),
  })
  undo.add('urls', () => server.close(closeMs))
  const next = { host, port: port === 0 || port === 65_535 ? 0 : port + 1, orAny: true }
  return { place: await server.listen(urlPort >= 0 ? { host, port: urlPort } : next), server }
}

export function placeText({ scheme, domain, port }: UrlPlace): string {
  return `${scheme}://${domain}:${port}`
}
