'use strict'

const messageCharsMax = 16384
const linesMax = 64
const lineCharsMax = 1024

/** An error that Hearth itself reports about user code, e.g. `Runtime.HandlerNotFound`. */
class RuntimeError extends Error {
  constructor(name, message, cause) {
    super(message)
    this.name = name
    // The frames of interest are those of the cause; ours say nothing to the user.
    this.stack = cause instanceof Error && cause.stack ? cause.stack : `${name}: ${message}`
  }
}

/** Whatever was thrown, as `{errorType, errorMessage, stackTrace}` within the bounds of FAIL. Never throws itself. */
function describe(thrown) {
  try {
    if (isError(thrown))
      return {
        errorType: cut(String(thrown.name || 'Error'), 256),
        errorMessage: cut(String(thrown.message), messageCharsMax),
        stackTrace: stackLines(thrown),
      }
    const isObject = typeof thrown === 'object' && thrown !== null
    return {
      errorType: typeof thrown,
      errorMessage: cut(isObject ? jsonOr(thrown) : String(thrown), messageCharsMax),
      stackTrace: [],
    }
  } catch {
    return { errorType: 'Error', errorMessage: 'An error that cannot be described was thrown.', stackTrace: [] }
  }
}

/** FAIL's payload; shortened further when escapes make it longer than a frame. */
function failText(error, phase) {
  const text = JSON.stringify(phase === undefined ? error : { ...error, phase })
  if (Buffer.byteLength(text) <= 65536) return text
  const { errorType, errorMessage } = error
  return JSON.stringify({ errorType, errorMessage: cut(errorMessage, 2048), stackTrace: [], phase })
}

function isError(thrown) {
  return thrown instanceof Error || Object.prototype.toString.call(thrown) === '[object Error]'
}

function stackLines(error) {
  const lines = framesOf(error)
  for (let cause = error.cause, depth = 0; isError(cause) && depth < 4; cause = cause.cause, depth++)
    lines.push(`Caused by: ${cause.name}: ${cause.message}`, ...framesOf(cause))
  return lines.slice(0, linesMax).map((line) => cut(line, lineCharsMax))
}

/** Lines of the stack below the message, without those of this runtime. */
function framesOf(error) {
  const stack = typeof error.stack === 'string' ? error.stack : ''
  // A syntax error's place stands above its message.
  const place = /^\S+:\d+\n/.test(stack) ? [stack.slice(0, stack.indexOf('\n'))] : []
  const frames = stack.split('\n').filter((line) => /^\s+at /.test(line) && !line.includes(__dirname))
  return [...place, ...frames.map((line) => line.trim())]
}

function jsonOr(value) {
  try {
    return JSON.stringify(value) || String(value)
  } catch {
    return String(value)
  }
}

function cut(text, charsMax) {
  return text.length <= charsMax ? text : `${text.slice(0, charsMax - 3)}...`
}

module.exports = { RuntimeError, describe, failText }
