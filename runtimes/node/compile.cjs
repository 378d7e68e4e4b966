'use strict'
const { makeBytecode } = require('./bytecode.cjs')
const { loadHandler } = require('./loader.cjs')

/** A start that hangs must not hold up the deploy. */
const loadMsMax = 10_000
const filesMax = 20_000

/** Answers an INVOKE of kind compile: loads the handler as a start would, then sends the bytecode of its files as a file pack. */
async function runCompile(bind, response) {
  const load = async () => {
    let timer
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, loadMsMax)
    })
    await Promise.race([loadHandler(bind.taskRoot, bind.handler), late]).catch((error) =>
      console.error('The code does not load here, so less of it is compiled:', error),
    )
    clearTimeout(timer)
  }
  let files = 0
  for (const [path, bytes] of await makeBytecode(bind.taskRoot, load)) {
    if (++files > filesMax) break
    await response.write(packEntry(path, bytes.length))
    await response.write(bytes)
  }
  response.end(false)
}

/** `u16 path length, path, u32 size`; the bytes follow. */
function packEntry(path, size) {
  const name = Buffer.from(path)
  const entry = Buffer.alloc(2 + name.length + 4)
  entry.writeUInt16BE(name.length, 0)
  name.copy(entry, 2)
  entry.writeUInt32BE(size, 2 + name.length)
  return entry
}

module.exports = { runCompile }
