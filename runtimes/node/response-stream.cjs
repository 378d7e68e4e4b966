'use strict'
const { Writable } = require('node:stream')
const { payloadBytesMax } = require('./wire.cjs')

/** What `awslambda.streamifyResponse` hands to its handler. */
class ResponseStream extends Writable {
  constructor(response) {
    super({ highWaterMark: payloadBytesMax })
    this.response = response
    this.metadata = null
    this.contentType = 'application/octet-stream'
  }

  setContentType(contentType) {
    this.contentType = contentType
  }

  _write(chunk, _encoding, done) {
    void this.send(chunk, done)
  }

  async send(chunk, done) {
    let failure = null
    try {
      this.sendHead()
      await this.response.write(chunk)
    } catch (error) {
      failure = error
    }
    done(failure)
  }

  _final(done) {
    try {
      this.sendHead()
      done()
    } catch (error) {
      done(error)
    }
  }

  sendHead() {
    if (this.response.isStarted) return
    const { statusCode = 200, headers = {}, cookies = [] } = this.metadata || {}
    const pairs = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)])
    if (!pairs.some(([name]) => name === 'content-type')) pairs.push(['content-type', this.contentType])
    for (const cookie of cookies) pairs.push(['set-cookie', String(cookie)])
    this.response.head(statusCode, pairs)
  }
}

module.exports = { ResponseStream }
