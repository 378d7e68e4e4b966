'use strict'
const { Writable } = require('node:stream')
const { sendPrelude } = require('./fetch-handler.cjs')
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
    sendPrelude(this.metadata, this.contentType, this.response)
  }
}

module.exports = { ResponseStream }
