'use strict'
const { Context } = require('./context.cjs')
const { RuntimeError } = require('./errors.cjs')
const { isJson, isResponse, requestOf, sendChunks, sendParts, sendResponse } = require('./fetch-handler.cjs')
const { Response, streamingHandler } = require('./response.cjs')
const { Type, creditStepBytes, windowBytes } = require('./wire.cjs')

/** One invocation: gathers the event, runs the handler, sends the answer. */
class Invocation {
  constructor(writer, stream, message) {
    this.writer = writer
    this.stream = stream
    this.message = message
    this.response = new Response(writer, stream)
    this.chunks = []
    this.bytesSinceCredit = 0
    this.isEventWhole = false
    this.context = null
    this.cancelReason = null
    /** How a classic handler's promise is settled. */
    this.answer = null
  }

  receiveData(chunk, isLast) {
    if (chunk.length > 0) this.chunks.push(chunk)
    this.isEventWhole = isLast
    this.bytesSinceCredit += chunk.length
    if (isLast || this.bytesSinceCredit < creditStepBytes) return
    const credit = Buffer.alloc(4)
    credit.writeUInt32BE(Math.min(this.bytesSinceCredit, windowBytes))
    this.bytesSinceCredit = 0
    this.writer.send(Type.credit, 0, this.stream, credit)
  }

  /** The host asks to stop: the handler hears of it by `context.signal`, and what it still sends goes nowhere. */
  cancel(reason) {
    this.cancelReason = new Error(`Cancelled: ${reason}`)
    this.response.abandon()
    if (this.context !== null) this.context.cancel(this.cancelReason)
  }

  /** Runs the handler; resolves when the answer has been handed over and `waitUntil` work is done. Never rejects. */
  async run(handler, bind) {
    this.context = new Context(bind, this.message, (error, result) => this.settle(error, result))
    if (this.cancelReason !== null) this.context.cancel(this.cancelReason)
    try {
      if (handler.style === 'fetch') await this.runFetch(handler)
      else if (handler.call[streamingHandler] === true) await this.runStreaming(handler)
      else {
        const sending = this.sendResult(await this.runClassic(handler))
        if (sending !== undefined) await sending
      }
    } catch (error) {
      this.response.fail(error, this.context.hasOpenWork)
    }
    if (!this.context.hasOpenWork) return
    await this.context.workDone()
    this.response.idle()
  }

  /** Async functions and plain returns count as they are; a function that takes a third argument answers by its callback, and
   *  `context.succeed` and its like answer for any. The first answer counts. */
  runClassic(handler) {
    const answered = new Promise((resolve, reject) => (this.answer = { resolve, reject }))
    try {
      const result = handler.call(this.event(), this.context, (error, value) => this.settle(error, value))
      const isPromise = result !== null && typeof result === 'object' && typeof result.then === 'function'
      if (isPromise) result.then(this.answer.resolve, this.answer.reject)
      else if (result !== undefined || handler.call.length < 3) this.answer.resolve(result)
    } catch (error) {
      // A callback that still comes has nobody to tell.
      this.answer = null
      throw error
    }
    return answered
  }

  settle(error, result) {
    if (this.answer === null) return
    if (error === null || error === undefined) this.answer.resolve(result)
    else this.answer.reject(error)
  }

  async runFetch(handler) {
    const payload = this.payload()
    const request = requestOf(payload, this.message.contentType, this.context.signal)
    await sendResponse(await handler.call(request, process.env, this.context), this.response)
    this.response.end(this.context.hasOpenWork)
  }

  async runStreaming(handler) {
    const { ResponseStream } = require('./response-stream.cjs')
    const output = new ResponseStream(this.response)
    const done = new Promise((resolve, reject) => output.on('finish', resolve).on('error', reject))
    await Promise.race([handler.call(this.event(), output, this.context), done])
    await done
    this.response.end(this.context.hasOpenWork)
  }

  async sendResult(result) {
    const { response } = this
    if (result !== null && typeof result === 'object') {
      if (result instanceof Uint8Array || result instanceof ArrayBuffer) {
        response.head(200, [['content-type', 'application/octet-stream']])
        return response.end(this.context.hasOpenWork, result instanceof Uint8Array ? result : new Uint8Array(result))
      }
      if (isResponse(result)) {
        await sendResponse(result, response)
        return response.end(this.context.hasOpenWork)
      }
      if (
        typeof result.pipe === 'function' ||
        (typeof result.getReader === 'function' && result[Symbol.asyncIterator])
      ) {
        response.head(200, [['content-type', 'application/octet-stream']])
        await sendChunks(result, response)
        return response.end(this.context.hasOpenWork)
      }
      if (typeof result.next === 'function' && (result[Symbol.asyncIterator] || result[Symbol.iterator])) {
        await sendParts(result, response)
        return response.end(this.context.hasOpenWork)
      }
    }
    return response.end(this.context.hasOpenWork, Buffer.from(toJson(result)))
  }

  event() {
    const payload = this.payload()
    if (!isJson(this.message.contentType)) return payload
    if (payload.length === 0) return {}
    try {
      return JSON.parse(payload.toString())
    } catch (error) {
      throw new RuntimeError('Runtime.UnmarshalError', `The event is not JSON: ${error.message}`)
    }
  }

  payload() {
    const payload = this.chunks.length === 1 ? this.chunks[0] : Buffer.concat(this.chunks)
    this.chunks = []
    return payload
  }
}

/** The result as JSON; what JSON has no word for (undefined, a function) is null. */
function toJson(result) {
  try {
    const text = JSON.stringify(result)
    return text === undefined ? 'null' : text
  } catch (error) {
    throw new RuntimeError('Runtime.JSONStringifyError', `Unable to stringify response body: ${error.message}`)
  }
}

module.exports = { Invocation }
