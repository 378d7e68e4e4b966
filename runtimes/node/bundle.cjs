'use strict'
/* `node FLAGS bundle.cjs NAME`: makes .bundle/NAME.js of the runtime's modules and .bundle/NAME.cache, V8's bytecode of all that one start and one
 * invocation run, for the interpreter and flags that run this. Does nothing where both are there. */

const { spawn } = require('node:child_process')
const { once } = require('node:events')
const fs = require('node:fs')
const path = require('node:path')
const { FrameDecoder, Type, encodeFrame } = require('./wire.cjs')

const recordMsMax = 20_000
/** Far more than it takes; set-up waits for it, no start does. */
const warmUpMs = 300
// A memory for which no flag of V8 is changed: bytecode made under other flags is refused.
const bind = {
  function: 'f',
  version: '1',
  memoryMib: 256,
  env: {},
  handler: 'index.handler',
  cacheRoot: null,
  purpose: 'serve',
}
bind.taskRoot = path.join(__dirname, 'warm')
const invoke = { id: 'a', deadlineMs: 0, contentType: 'application/json', traceparent: null, kind: 'invoke' }
const event = encodeFrame(Type.data, 1, 1, '{"a":[1,"x",null]}')

async function main(name) {
  const target = path.join(__dirname, '.bundle', name)
  if (fs.existsSync(`${target}.cache`)) return
  fs.mkdirSync(path.dirname(target), { recursive: true })
  // Others may read them meanwhile, or make them too.
  const made = `${target}.${process.pid}`
  try {
    fs.writeFileSync(made, bundled())
    fs.renameSync(made, `${target}.js`)
    await record(name, made)
    fs.renameSync(made, `${target}.cache`)
  } finally {
    fs.rmSync(made, { force: true })
  }
}

/** One function of `require` and the folder; the modules keep their names, and what they require of each other. */
function bundled() {
  const modules = fs
    .readdirSync(__dirname)
    .filter((file) => /\.cjs$/.test(file) && !/^(bootstrap|bundle|import)\./.test(file))
  const parts = modules.map((file) => {
    const source = fs.readFileSync(path.join(__dirname, file), 'utf8')
    return `${JSON.stringify(`./${file}`)}: (module, exports, require, __dirname) => {${source}\n}`
  })
  const text = `(nodeRequire, folder) => {
const modules = {${parts.join(',\n')}}
const loaded = {}
const require = Object.assign((id) => {
  if (modules[id] === undefined) return nodeRequire(id)
  if (loaded[id] === undefined) {
    const module = (loaded[id] = { exports: {} })
    modules[id](module, module.exports, require, folder)
  }
  return loaded[id].exports
}, { resolve: nodeRequire.resolve })
require('./runtime.cjs')
}`
  // Read back as one byte a character.
  return text.replace(/[^ -~\n]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Starts the runtime as a host does, lets it warm up, become a function and answer once; it writes its bytecode to `file` when it ends. */
async function record(name, file) {
  const child = spawn(process.execPath, [...process.execArgv, path.join(__dirname, 'bootstrap.cjs'), name, file], {
    stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
    timeout: recordMsMax,
  })
  const channel = child.stdio[3]
  const send = (...frames) => channel.write(Buffer.concat(frames))
  const json = (type, stream, message) => encodeFrame(type, 0, stream, JSON.stringify(message))
  const decoder = new FrameDecoder((type) => {
    if (type === Type.hello) send(json(Type.configure, 0, {}), encodeFrame(Type.ping, 0, 0, ''))
    // The pong comes before the warm-up, the answer of the call after it.
    else if (type === Type.ping)
      setTimeout(() => send(json(Type.bind, 0, bind), json(Type.invoke, 1, invoke), event), warmUpMs)
    else if (type === Type.data) send(json(Type.shutdown, 0, { graceMs: 0 }))
  })
  channel.on('data', (chunk) => decoder.push(chunk))
  const [code, signal] = await once(child, 'exit')
  if (code !== 0) throw new Error(`The runtime ended with ${code ?? signal} while its bytecode was recorded.`)
}

void main(process.argv[2])
