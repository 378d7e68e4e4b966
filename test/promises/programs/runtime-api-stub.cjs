'use strict'
/* Lambda's Runtime API and nothing else: what is POSTed to / goes to whoever polls for it, and its answer comes back. No authentication, limits, receipts or isolation: the limit
 * of what a runtime client can reach over HTTP. Prints its port. */

const { createServer } = require('node:http')

const prefix = '/2018-06-01/runtime/'
const polls = []
const events = []
const replies = new Map()
let count = 0

createServer((request, response) => {
  if (request.method === 'GET' && request.url === `${prefix}invocation/next`) {
    polls.push(response)
    return pair()
  }
  const chunks = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => {
    const body = Buffer.concat(chunks)
    if (request.url === '/') {
      events.push({ id: `id-${++count}`, body, reply: response })
      pair()
    } else take(request.url, body, response)
  })
}).listen(0, '127.0.0.1', function () {
  console.log(this.address().port)
})

function take(url, body, response) {
  const [, id, what] = /\/invocation\/([^/]+)\/(response|error)$/.exec(url) ?? []
  const reply = replies.get(id)
  replies.delete(id)
  reply?.writeHead(what === 'response' ? 200 : 500, {
    'content-type': 'application/json',
    'content-length': body.length,
  })
  reply?.end(body)
  response.writeHead(reply === undefined ? 404 : 202, { 'content-length': 0 }).end()
}

function pair() {
  while (polls.length > 0 && events.length > 0) {
    const { id, body, reply } = events.shift()
    replies.set(id, reply)
    polls
      .shift()
      .writeHead(200, {
        'content-type': 'application/json',
        'content-length': body.length,
        'lambda-runtime-aws-request-id': id,
        'lambda-runtime-deadline-ms': String(Date.now() + 30_000),
        'lambda-runtime-invoked-function-arn': 'arn:aws:lambda:local:000000000000:function:bare',
        'lambda-runtime-trace-id': 'Root=1-00000000-000000000000000000000000;Sampled=0',
      })
      .end(body)
  }
}
