'use strict'

let hasTraceVariable = false

/** `_X_AMZN_TRACE_ID` of the invocation that runs, as on Lambda: AWS's tracing libraries look there. */
function setTraceVariable(traceparent) {
  hasTraceVariable = traceparent !== null
  if (traceparent === null) {
    delete process.env._X_AMZN_TRACE_ID
    return
  }
  const [, trace, parent, flags] = traceparent.split('-')
  const sampled = parseInt(flags, 16) & 1
  process.env._X_AMZN_TRACE_ID = `Root=1-${trace.slice(0, 8)}-${trace.slice(8)};Parent=${parent};Sampled=${sampled}`
}

/** The second argument of a handler: AWS Lambda's fields and methods, plus `requestId`, `deadline`, `waitUntil` and `signal`. */
class Context {
  #open
  #controller = null
  #cancelReason
  #isCancelled = false
  #settle

  constructor(bind, invoke, settle) {
    this.awsRequestId = invoke.id
    this.requestId = invoke.id
    this.functionName = bind.function
    this.functionVersion = bind.version
    this.memoryLimitInMB = String(bind.memoryMib)
    this.invokedFunctionArn = `arn:aws:lambda:${bind.region}:${bind.accountId}:function:${bind.function}`
    this.logGroupName = bind.logGroup
    this.logStreamName = bind.logStream
    this.traceparent = invoke.traceparent
    if (invoke.traceparent !== null || hasTraceVariable) setTraceVariable(invoke.traceparent)
    /** Epoch ms. */
    this.deadline = invoke.deadlineMs
    /** Taken for Lambda's sake; Hearth always answers at the callback, and open work is what `waitUntil` says. */
    this.callbackWaitsForEmptyEventLoop = true
    this.#settle = settle
    this.#open = new Set()
    // Handlers pass these on without `this`.
    this.getRemainingTimeInMillis = () => Math.max(0, invoke.deadlineMs - Date.now())
    this.waitUntil = (promise) => this.#waitUntil(promise)
  }

  /** Aborts when the caller cancels or the deadline passes. */
  get signal() {
    if (this.#controller === null) {
      this.#controller = new AbortController()
      if (this.#isCancelled) this.#controller.abort(this.#cancelReason)
      else {
        const abort = () => this.cancel(new Error('The deadline has passed.'))
        setTimeout(abort, Math.min(this.getRemainingTimeInMillis(), 0x7fffffff)).unref()
      }
    }
    return this.#controller.signal
  }

  done(error, result) {
    this.#settle(error, result)
  }

  succeed(result) {
    this.#settle(null, result)
  }

  fail(error) {
    this.#settle(error === undefined || error === null ? new Error('The handler failed.') : error)
  }

  #waitUntil(promise) {
    const work = Promise.resolve(promise)
      .catch((error) => console.error('Work handed to waitUntil failed:', error))
      .finally(() => this.#open.delete(work))
    this.#open.add(work)
  }

  /* For the runtime only. */

  cancel(reason) {
    this.#isCancelled = true
    this.#cancelReason = reason
    if (this.#controller !== null) this.#controller.abort(reason)
  }

  get hasOpenWork() {
    return this.#open.size > 0
  }

  /** Resolves when all work handed to `waitUntil` is done, also work that was handed over meanwhile. */
  async workDone() {
    while (this.#open.size > 0) await Promise.all(this.#open)
  }
}

module.exports = { Context }
