'use strict'
const { Type, payloadBytesMax } = require('./wire.cjs')

/** Makes `process.stdout`, `process.stderr` and with them `console` send LOG frames on the stream that `currentStream()` names.
 *  Each write leaves at once, so that the last words of a process that is then killed are not lost. */
function redirectOutput(writer, currentStream) {
  for (const [name, fd] of [
    ['stdout', 1],
    ['stderr', 2],
  ]) {
    let output = null
    const get = () => (output ??= logStream(writer, currentStream, fd))
    Object.defineProperty(process, name, { configurable: true, enumerable: true, get })
  }
}

/** Made at the first use: a function that prints nothing needs no streams. */
function logStream(writer, currentStream, fd) {
  const { Writable } = require('node:stream')
  const output = new Writable({
    decodeStrings: true,
    write(chunk, _encoding, done) {
      const stream = currentStream()
      for (let at = 0; at < chunk.length;) {
        const end = characterBoundary(chunk, Math.min(at + payloadBytesMax, chunk.length))
        writer.send(Type.log, fd, stream, chunk.subarray(at, end))
        at = end
      }
      // A host that is slow to read slows the writer down, as a full pipe would.
      if (writer.flush()) done()
      else writer.socket.once('drain', done)
    },
  })
  return Object.assign(output, { fd, isTTY: false, _type: 'pipe' })
}

/** The last place at or before `end` that does not cut a UTF-8 character in two. */
function characterBoundary(chunk, end) {
  if (end === chunk.length) return end
  for (let at = end; at > end - 4; at--) if ((chunk[at] & 0xc0) !== 0x80) return at
  return end
}

module.exports = { redirectOutput }
