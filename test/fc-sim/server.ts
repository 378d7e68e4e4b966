import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import { Fault, parseRequest } from './bodies.ts'
import type { Controller } from './controller.ts'

export interface ServerOptions {
  readonly controller: Controller
  readonly id: string
  readonly version: string
  readonly payloadBytesMax: number
}

/** The API on a UNIX socket. Requests are done one after the other, over however many connections they come. */
export async function serve(socketPath: string, options: ServerOptions): Promise<http.Server> {
  let last: Promise<void> = Promise.resolve()
  const server = http.createServer((request, response) => {
    last = last.then(() => answer(request, response, options))
  })
  server.listen(socketPath)
  await once(server, 'listening')
  return server
}

async function answer(request: IncomingMessage, response: ServerResponse, options: ServerOptions): Promise<void> {
  const { method = '', url = '' } = request
  try {
    const body = await readBody(request, options.payloadBytesMax)
    if (method === 'GET') return reply(response, 200, await describe(url, options))
    await options.controller.handle(parseRequest(method, url, body))
    reply(response, 204, null)
  } catch (error) {
    if (!(error instanceof Fault)) process.stderr.write(`${String(error)}\n`)
    reply(response, 400, { fault_message: error instanceof Error ? error.message : String(error) })
  }
}

/** Throws Fault for what cannot be asked for. */
async function describe(url: string, { controller, id, version }: ServerOptions): Promise<object> {
  if (url === '/') return { app_name: 'Firecracker', id, state: controller.state, vmm_version: version }
  if (url === '/version') return { firecracker_version: version }
  if (url === '/machine-config') return controller.config
  if (url === '/vm/config') return { drives: controller.drives }
  if (url === '/balloon/statistics') return controller.balloonStatistics()
  throw new Fault(`Invalid request method and/or path: GET ${url}.`)
}

async function readBody(request: IncomingMessage, bytesMax: number): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > bytesMax)
      throw new Fault(`Request payload with size ${bytes} is larger than the limit of ${bytesMax} allowed by server.`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}

function reply(response: ServerResponse, status: number, body: object | null): void {
  response.writeHead(status, {
    server: 'Firecracker API',
    ...(body !== null && { 'content-type': 'application/json' }),
  })
  response.end(body === null ? undefined : JSON.stringify(body))
}
