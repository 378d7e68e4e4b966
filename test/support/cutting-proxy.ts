import http from 'node:http'
import type { AddressInfo } from 'node:net'

/** A proxy that spoils answers as it is told. */
export interface CuttingProxy {
  readonly url: string
  /** Byte counts after which the next answers with content are cut, one each. */
  cuts: number[]
  /** How many of the next requests are answered 503 instead. */
  storms: number
  /** Called before each request is passed on. */
  onRequest: (request: http.IncomingMessage) => Promise<void>
  /** Of the requests for content: what they asked for. */
  readonly ranges: (string | null)[]
  stop(): Promise<void>
}

/** Passes requests on to `target`, with the Host they came with: signatures are over it. */
export async function startCuttingProxy(target: string): Promise<CuttingProxy> {
  const server = http.createServer((request, response) => void pass(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const proxy: CuttingProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cuts: [],
    storms: 0,
    onRequest: async () => {},
    ranges: [],
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }

  async function pass(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    await proxy.onRequest(request)
    if (request.method === 'GET') proxy.ranges.push(request.headers.range ?? null)
    if (proxy.storms > 0) {
      proxy.storms--
      response.writeHead(503, { 'content-type': 'application/xml' })
      response.end('<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>')
      return
    }
    const { method, url, headers } = request
    const onward = http.request(new URL(url ?? '/', target), { method, headers }, (reply) => {
      response.writeHead(reply.statusCode ?? 502, reply.rawHeaders)
      const cut = method === 'GET' ? proxy.cuts.shift() : undefined
      if (cut === undefined) {
        reply.pipe(response)
        return
      }
      let left = cut
      if (left === 0) {
        response.flushHeaders()
        setImmediate(() => response.destroy())
        return
      }
      reply.on('data', (chunk: Buffer) => {
        if (left <= 0) return
        const piece = chunk.subarray(0, left)
        left -= piece.length
        response.write(piece, () => {
          if (left <= 0) response.destroy()
        })
      })
    })
    onward.on('error', () => response.destroy())
    request.pipe(onward)
  }
  return proxy
}
