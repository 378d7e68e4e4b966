import type http from 'node:http'
import type { Duplex } from 'node:stream'
import { AppError } from '../domain/error.ts'
import { errorBody, HttpRefusal, statusOf } from './errors.ts'

/** Ended at once, the connection would be reset under the answer. */
const lingerMs = 1_000

const reasons: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
}

/** Answers what is no HTTP request, or none that the server takes, in the form of every other error, and ends the connection. */
export function refuseUnparsed(thrown: Error, socket: Duplex): void {
  const code = 'code' in thrown ? thrown.code : undefined
  if (code === 'ECONNRESET' || socket.destroyed || !socket.writable) return void socket.destroy()
  const error = errorFor(code, thrown)
  const status = statusOf(error)
  const body = JSON.stringify(errorBody(error))
  const head = `HTTP/1.1 ${status} ${reasons[status]}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n`
  socket.end(head + body)
  socket.resume()
  setTimeout(() => socket.destroy(), lingerMs).unref()
}

/** `Expect` with anything but 100-continue, which alone there is. */
export function refuseExpectation(request: http.IncomingMessage, response: http.ServerResponse): void {
  const { expect = '' } = request.headers
  const allowed = '100-continue'
  const error = new HttpRefusal(417, `Invalid Expect ${JSON.stringify(expect)}: must be ${allowed}, or left out.`, {
    field: 'Expect',
    value: expect,
    allowed,
  })
  response.writeHead(417, { 'content-type': 'application/json', connection: 'close' })
  response.end(JSON.stringify(errorBody(error)))
}

function errorFor(code: unknown, { message }: Error): AppError {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return new HttpRefusal(431, 'The request line and headers are larger than 16 KiB together.', {
        field: 'headers',
        allowed: 'at most 16 KiB',
      })
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new HttpRefusal(408, 'The request headers did not come in time.', { retryable: true })
    default:
      return new HttpRefusal(400, `This is no HTTP/1.1 request: ${message.replace(/^Parse Error: /, '')}.`)
  }
}
