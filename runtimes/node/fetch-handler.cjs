'use strict'
const { RuntimeError } = require('./errors.cjs')

/** The event of a web-standard handler as a Request: an HTTP event as it says, anything else as POST / with the payload as body. */
function requestOf(payload, contentType, signal) {
  const event = isJson(contentType) ? parseOrUndefined(payload) : undefined
  const http = event === undefined ? undefined : httpFields(event)
  if (http === undefined)
    return new Request('http://localhost/', {
      method: 'POST',
      headers: contentType === '' ? {} : { 'content-type': contentType },
      body: payload,
      signal,
    })
  const { method, target, headers, body } = http
  const hasBody = method !== 'GET' && method !== 'HEAD' && body !== undefined && body !== null
  const url = new URL(target, `http://${headers.get('host') || 'localhost'}`)
  return new Request(url, { method, headers, body: hasBody ? body : null, signal })
}

/** Sends a Response: head, then its body as it comes. */
async function sendResponse(result, response) {
  if (!isResponse(result))
    throw new RuntimeError('Runtime.InvalidResponse', 'The fetch handler must return a Response.')
  const headers = []
  for (const [name, value] of result.headers) if (name !== 'set-cookie') headers.push([name, value])
  const cookies = typeof result.headers.getSetCookie === 'function' ? result.headers.getSetCookie() : []
  for (const cookie of cookies) headers.push(['set-cookie', cookie])
  response.head(result.status, headers)
  if (result.body !== null) await sendChunks(result.body, response)
}

/** Sends an async iterable of bytes or text. */
async function sendChunks(chunks, response) {
  for await (const chunk of chunks) {
    await response.write(typeof chunk === 'string' ? Buffer.from(chunk) : chunk)
    if (response.isGone) return
  }
}

/** Sends what a generator yields, text or bytes. A plain object as its first part is the head, as in AWS's prelude: {statusCode, headers, cookies}. */
async function sendParts(parts, response) {
  for await (const part of parts) {
    const isData = typeof part === 'string' || part instanceof Uint8Array
    if (!isData && (response.isStarted || typeof part !== 'object' || part === null))
      throw new RuntimeError(
        'Runtime.InvalidResponse',
        `A generator must yield strings or bytes, not ${part === null ? 'null' : typeof part}.`,
      )
    if (!response.isStarted) {
      const type = typeof part === 'string' ? 'text/plain; charset=utf-8' : 'application/octet-stream'
      sendPrelude(isData ? {} : part, type, response)
      if (!isData) continue
    }
    await response.write(typeof part === 'string' ? Buffer.from(part) : part)
    if (response.isGone) return
  }
  if (!response.isStarted) sendPrelude({}, 'application/octet-stream', response)
}

/** Sends the head that `metadata` describes. */
function sendPrelude(metadata, contentType, response) {
  const { statusCode = 200, headers = {}, cookies = [] } = metadata || {}
  const pairs = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)])
  if (!pairs.some(([name]) => name === 'content-type')) pairs.push(['content-type', contentType])
  for (const cookie of cookies) pairs.push(['set-cookie', String(cookie)])
  response.head(statusCode, pairs)
}

function isResponse(value) {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof value.status === 'number' &&
    typeof value.arrayBuffer === 'function' &&
    typeof value.headers === 'object'
  )
}

/** Method, target, headers and body of an event that describes an HTTP request: the plain form {method, url | path, headers, body},
 *  or AWS's payload format 2.0. Undefined for any other event. */
function httpFields(event) {
  if (typeof event !== 'object' || event === null) return undefined
  const aws = event.requestContext && event.requestContext.http
  const method = aws ? aws.method : event.method
  const target = aws
    ? `${event.rawPath}${event.rawQueryString ? `?${event.rawQueryString}` : ''}`
    : event.url || event.path
  if (typeof method !== 'string' || typeof target !== 'string') return undefined
  const headers = new Headers()
  const pairs = Array.isArray(event.headers) ? event.headers : Object.entries(event.headers || {})
  for (const [name, value] of pairs) for (const one of [value].flat()) headers.append(name, String(one))
  if (aws && Array.isArray(event.cookies)) headers.set('cookie', event.cookies.join('; '))
  return { method: method.toUpperCase(), target, headers, body: bodyOf(event) }
}

function bodyOf({ body, isBase64Encoded }) {
  if (body === undefined || body === null) return undefined
  if (typeof body !== 'string') return JSON.stringify(body)
  return isBase64Encoded ? Buffer.from(body, 'base64') : body
}

function isJson(contentType) {
  return contentType === '' || /^application\/([^;]*\+)?json\b/i.test(contentType)
}

function parseOrUndefined(payload) {
  try {
    return JSON.parse(payload.toString())
  } catch {
    return undefined
  }
}

module.exports = { requestOf, sendResponse, sendChunks, sendParts, sendPrelude, isResponse, isJson }
