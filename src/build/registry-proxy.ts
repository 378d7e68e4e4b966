import { connect } from 'node:net'
import type { Duplex } from 'node:stream'

/** Where compilers and installers fetch packages from; nothing else can be reached from a build. */
export const registryHosts: readonly string[] = [
  'proxy.golang.org',
  'sum.golang.org',
  'index.crates.io',
  'static.crates.io',
  'crates.io',
  'registry.npmjs.org',
  'pypi.org',
  'files.pythonhosted.org',
]
const headBytesMax = 8_192
const idleMs = 60_000

/** Serves one connection of a build: HTTP CONNECT to port 443 of a registry, then bytes both ways. Everything else is answered 403. */
export function serveRegistryProxy(client: Duplex, onRefused: (target: string) => void): void {
  let head = Buffer.alloc(0)
  const end = (): void => void client.destroy()
  client.on('error', end)
  const onData = (chunk: Buffer): void => {
    head = Buffer.concat([head, chunk])
    const at = head.indexOf('\r\n\r\n')
    if (at < 0) return head.length > headBytesMax ? end() : undefined
    client.off('data', onData)
    client.pause()
    const [line = ''] = head.toString('latin1', 0, at).split('\r\n')
    const host = /^CONNECT ([a-z0-9.-]+):443 HTTP\/1\.[01]$/.exec(line)?.[1]
    if (host === undefined || !registryHosts.includes(host)) {
      onRefused(line.slice(0, 200))
      return void client.end(
        'HTTP/1.1 403 Only package registries can be reached from a build\r\ncontent-length: 0\r\n\r\n',
      )
    }
    tunnel(client, host, head.subarray(at + 4))
  }
  client.on('data', onData)
}

function tunnel(client: Duplex, host: string, first: Buffer): void {
  const server = connect({ host, port: 443 })
  const end = (): void => {
    server.destroy()
    client.destroy()
  }
  server.setTimeout(idleMs, end)
  server.once('error', () =>
    server.connecting ? client.end('HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n') : end(),
  )
  server.once('connect', () => {
    client.write('HTTP/1.1 200 Connection established\r\n\r\n')
    if (first.length > 0) server.write(first)
    client.pipe(server).pipe(client)
  })
  client.once('close', end)
  server.once('close', end)
}
