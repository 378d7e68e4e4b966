'use strict'
/* The Node runtime of an Instance. Speaks the guest protocol on fd 3 (docs/reference/guest-protocol.md):
 *   1. output goes to LOG frames   2. HELLO   3. CONFIGURE, BIND: environment, code, READY
 *   4. INVOKE, one after the other   5. SHUTDOWN, or the channel ends
 * In a microVM a snapshot may lie between any two of these; a clone goes on at 2 (snapshot.cjs). */

const fs = require('node:fs')
const path = require('node:path')
const { Channel } = require('./channel.cjs')
const { describe, failText } = require('./errors.cjs')
const { fitHeap } = require('./heap.cjs')
const { Invocation } = require('./invocation.cjs')
const { loadHandler } = require('./loader.cjs')
const { redirectOutput } = require('./output.cjs')
const { awslambda } = require('./response.cjs')
const { Flag, FrameDecoder, FrameWriter, Type } = require('./wire.cjs')

const decoder = new FrameDecoder(receive)
const channel = new Channel(3, (chunk) => decoder.push(chunk))
const writer = new FrameWriter(channel)
/** Open streams by id; invocations run in the order in which they came. */
const invocations = new Map()
const waiting = []
let running = null
let bind = null
let handler = null
/** From BIND to READY. */
let isStarting = false
let isWarm = false
/** Since the last RESUME: this is no clone, its host alone is another. */
let isTakenOver = false
/** While the hooks before a snapshot run; the PING that follows is answered after them. */
let preparing = null

redirectOutput(writer, () =>
  running === null || (running.response.isEnded && !running.context?.hasOpenWork) ? 0 : running.stream,
)
globalThis.awslambda = awslambda
// A getter: few have hooks, and the module is loaded for them alone. User code may have a global of this name.
Object.defineProperty(globalThis, 'hearth', {
  configurable: true,
  get: () => require('./snapshot.cjs').hooks,
  set: (value) => Object.defineProperty(globalThis, 'hearth', { value, writable: true, configurable: true }),
})
if (process.env.HEARTH_SNAPSHOT === '1') require('./snapshot.cjs').watchRandomness()
process.on('uncaughtException', (error) => die(error))
process.on('unhandledRejection', (reason) => die(unhandled(reason)))
process.on('exit', () => writer.flush())

const receivers = {
  [Type.bind]: (_stream, payload) => void (handler === null ? start(parse(payload)) : startAgain(parse(payload))),
  [Type.invoke]: (stream, payload) => receiveInvoke(stream, parse(payload)),
  [Type.data]: (stream, payload, flags) => receiveData(stream, payload, flags !== 0),
  [Type.end]: (stream, payload) => receiveData(stream, payload.subarray(0, 0), true),
  [Type.credit]: (stream, payload) => invocations.get(stream)?.response.half.grant(payload.readUInt32BE(0)),
  [Type.cancel]: (stream, payload) => invocations.get(stream)?.cancel(parse(payload).reason),
  [Type.ping]: (_stream, payload, flags) => flags === 0 && answerPing(payload),
  [Type.prepareSnapshot]: () => prepareSnapshot(),
  [Type.resume]: (_stream, payload) => resume(parse(payload)),
  [Type.shutdown]: (_stream, payload) => shutDown(parse(payload).graceMs),
}

hello(process.env.HEARTH_EPOCH || '')

writer.flush()
readOn()

/** Waits in place for the next frames where nothing else can happen. Work that is under way needs the event loop, and from then on the channel
 *  is a socket on it. */
function readOn() {
  if (channel.isAttached) return
  const chunk = isIdle() ? channel.readNow() : null
  if (chunk === null) return channel.attach()
  if (chunk.length === 0) process.exit(0)
  decoder.push(chunk)
  // Promises go first: a handler that waits for nothing has answered by then.
  setImmediate(readOn)
}

/** No invocation runs or waits for credit, no code loads, and user code left nothing behind that the loop would have to serve. */
function isIdle() {
  if (running !== null || isStarting || preparing !== null || invocations.size !== waiting.length) return false
  if (bind === null) return true
  return process.getActiveResourcesInfo().length === 0 && !process.eventNames().some((name) => isSignal(name))
}

function isSignal(name) {
  return typeof name === 'string' && name.startsWith('SIG')
}

function receive(type, flags, stream, payload) {
  const receiver = receivers[type]
  // What a newer host may say and this runtime has no use for, e.g. CONFIGURE.
  if (receiver !== undefined) receiver(stream, payload, flags)
}

function hello(epoch, rest) {
  const { pid, versions } = process
  json(Type.hello, { protocol: 1, role: 'runtime', epoch, runtime: 'node', version: versions.node, pid, ...rest })
}

function receiveInvoke(stream, message) {
  const invocation = new Invocation(writer, stream, message)
  invocations.set(stream, invocation)
  waiting.push(invocation)
}

function receiveData(stream, payload, isLast) {
  const invocation = invocations.get(stream)
  if (invocation === undefined || invocation.isEventWhole) return
  invocation.receiveData(payload, isLast)
  if (isLast) next()
}

/** Becomes the function of `message`, for life. */
async function start(message) {
  // Not performance.now(): that global loads modules that no idle Instance needs.
  const startedAt = process.hrtime.bigint()
  isStarting = true
  bind = message
  try {
    enter(message)
    if (message.purpose === 'compile') handler = { style: 'compile' }
    else {
      if (message.cacheRoot !== null) require('./bytecode.cjs').useBytecode(message.taskRoot, message.cacheRoot)
      handler = await loadHandler(message.taskRoot, message.handler)
      fitHeap(message.memoryMib)
    }
  } catch (error) {
    writer.send(Type.fail, 0, 0, failText(describe(error), 'code_load'))
    return exitFlushed(1)
  }
  isStarting = false
  json(Type.ready, { loadMs: Number(process.hrtime.bigint() - startedAt) / 1e6 })
  // Before the first handler: one that never yields must not hold back that its module has loaded.
  writer.flush()
  next()
}

/** Bound again in a clone of a snapshot that holds the code, or by another host: only what a host may set is set anew. */
async function startAgain(message) {
  const startedAt = process.hrtime.bigint()
  isStarting = true
  try {
    if (message.function !== bind.function || message.version !== bind.version)
      throw new Error(
        `This snapshot is of ${bind.function}:${bind.version}, not of ${message.function}:${message.version}.`,
      )
    bind = message
    enter(message)
    if (!isTakenOver) await require('./snapshot.cjs').runAfterRestore()
  } catch (error) {
    writer.send(Type.fail, 0, 0, failText(describe(error), 'after_restore'))
    return exitFlushed(1)
  }
  isStarting = false
  json(Type.ready, { loadMs: Number(process.hrtime.bigint() - startedAt) / 1e6 })
  writer.flush()
}

/** A hook that throws ends the runtime: its memory is not to be multiplied. */
function prepareSnapshot() {
  preparing = require('./snapshot.cjs')
    .prepare(handler !== null)
    .then(() => (preparing = null), die)
}

/** Before BIND it says that there is time: the way of a start is gone through once. */
function answerPing(payload) {
  const pong = () => writer.send(Type.ping, Flag.pong, 0, payload)
  if (preparing === null) pong()
  else void preparing.then(pong)
  if (preparing !== null || bind !== null || isWarm) return
  isWarm = true
  void require('./warm-up.cjs').warmUp()
}

/** First act of a clone, or under another host. What an earlier host had open is over, and told if it still runs. */
function resume(message) {
  const isBusy = isStarting || running !== null || invocations.size > 0
  invocations.clear()
  waiting.length = 0
  isTakenOver = message.isTakenOver === true
  if (!isTakenOver) require('./snapshot.cjs').reseed(handler !== null)
  json(Type.resumed, { epoch: message.epoch })
  hello(message.epoch, { isBusy })
}

/** Environment, working folder and search paths as the user's code expects them. */
function enter(message) {
  const keep = {}
  for (const name of ['PATH', 'HOME', 'TZ', 'LANG']) if (process.env[name] !== undefined) keep[name] = process.env[name]
  const environment = { ...keep, ...platformEnvironment(message), ...message.env }
  for (const name of Object.keys(process.env)) if (!(name in environment)) delete process.env[name]
  for (const [name, value] of Object.entries(environment)) if (process.env[name] !== value) process.env[name] = value
  if (fs.existsSync('/opt/nodejs/node_modules')) {
    process.env.NODE_PATH = ['/opt/nodejs/node_modules', process.env.NODE_PATH].filter(Boolean).join(path.delimiter)
    require('node:module').Module._initPaths()
  }
  process.chdir(message.taskRoot)
}

function platformEnvironment(message) {
  return {
    LAMBDA_TASK_ROOT: message.taskRoot,
    LAMBDA_RUNTIME_DIR: __dirname,
    AWS_LAMBDA_FUNCTION_NAME: message.function,
    AWS_LAMBDA_FUNCTION_VERSION: message.version,
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(message.memoryMib),
    AWS_LAMBDA_LOG_GROUP_NAME: message.logGroup,
    AWS_LAMBDA_LOG_STREAM_NAME: message.logStream,
    AWS_REGION: message.region,
    AWS_DEFAULT_REGION: message.region,
    HEARTH_API_URL: message.apiUrl,
    HEARTH_PROJECT: message.project,
    _HANDLER: message.handler,
  }
}

/** Starts the oldest waiting invocation, once the code is loaded, nothing else runs and its event is whole. */
function next() {
  if (handler === null || running !== null || waiting.length === 0 || !waiting[0].isEventWhole) return
  running = waiting.shift()
  const run = running.message.kind === 'invoke' ? running.run(handler, bind) : answerPlatform(running)
  run.then(finished, die)
}

function finished() {
  const { response, stream } = running
  running = null
  // Credit may still be needed for what is queued.
  if (!response.half.isBlocked) invocations.delete(stream)
  else response.half.onDrain = () => invocations.delete(stream)
  next()
}

/** What the platform itself asks, not a caller. */
async function answerPlatform({ message, response }) {
  if (message.kind === 'identity') require('./identity.cjs').runIdentity(response)
  else await require('./compile.cjs').runCompile(bind, response)
}

/** Lambda's rule: what nobody caught ends the invocation, and the process with it. */
function die(error) {
  if (running !== null && !running.response.isEnded) running.response.fail(error, false)
  else if (bind !== null && handler === null) writer.send(Type.fail, 0, 0, failText(describe(error), 'code_load'))
  else console.error('Uncaught outside of an invocation:', error)
  exitFlushed(1)
}

function unhandled(reason) {
  const { errorMessage } = describe(reason)
  const error = new Error(errorMessage)
  error.name = 'Runtime.UnhandledPromiseRejection'
  if (reason instanceof Error) error.stack = reason.stack
  return error
}

function exitFlushed(code) {
  writer.flush()
  if (channel.writableLength === 0) process.exit(code)
  channel.write('', () => process.exit(code))
  setTimeout(() => process.exit(code), 1000)
}

function shutDown(graceMs) {
  if (process.listenerCount('SIGTERM') === 0) return exitFlushed(0)
  setTimeout(() => exitFlushed(0), graceMs)
  process.emit('SIGTERM', 'SIGTERM')
}

function parse(payload) {
  return payload.length === 0 ? {} : JSON.parse(payload.toString())
}

function json(type, message) {
  writer.send(type, 0, 0, JSON.stringify(message))
}
