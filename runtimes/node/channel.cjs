'use strict'
const fs = require('node:fs')

const chunkBytes = 65536

/** The descriptor to the host. Until `attach` it is read and written in place, by calls that block; then it is a socket on the event loop. A
 *  function that waits for nothing never needs the latter: measured, Node 26, 2.9 ms of a start and 0.6 MiB for the network modules. */
class Channel {
  constructor(fd, receive) {
    this.fd = fd
    /** Gets what comes once the channel is attached. */
    this.receive = receive
    this.socket = null
    this.buffer = null
  }

  get isAttached() {
    return this.socket !== null
  }

  /** The next bytes; empty at the end of the channel, null where the descriptor cannot be waited for like this. */
  readNow() {
    // There it is a named pipe, opened for overlapped use.
    if (process.platform === 'win32') return null
    this.buffer ??= Buffer.allocUnsafeSlow(chunkBytes)
    const { buffer } = this
    let count = 0
    try {
      count = fs.readSync(this.fd, buffer)
    } catch (error) {
      if (error.code === 'EAGAIN') return null
    }
    // What is read is handed out for good: a short piece as a copy, the buffer itself for a long one.
    if (count < chunkBytes / 4) return Buffer.from(buffer.subarray(0, count))
    this.buffer = null
    return buffer.subarray(0, count)
  }

  /** From now on it is a socket. The process ends when the channel does: without the host there is nothing left to serve. */
  attach() {
    if (this.socket !== null) return
    this.buffer = null
    const { Socket } = require('node:net')
    this.socket = new Socket({ fd: this.fd, readable: true, writable: true })
    this.socket.on('data', this.receive)
    this.socket.on('end', () => process.exit(0))
    this.socket.on('error', () => process.exit(0))
  }

  /** Hands `bytes` over; false when the host is slow to read. Calls `done` when the kernel has them all. */
  write(bytes, done) {
    if (this.socket !== null) return this.socket.write(bytes, done)
    let at = 0
    while (at < bytes.length)
      try {
        at += fs.writeSync(this.fd, bytes, at)
      } catch (error) {
        if (error.code !== 'EAGAIN') return process.exit(0)
        // Somebody has made it non-blocking: waiting is the socket's business.
        this.attach()
        return this.socket.write(bytes.subarray(at), done)
      }
    if (done !== undefined) setImmediate(() => done())
    return true
  }

  get writableNeedDrain() {
    return this.socket !== null && this.socket.writableNeedDrain
  }

  get writableLength() {
    return this.socket === null ? 0 : this.socket.writableLength
  }

  once(event, listener) {
    this.socket.once(event, listener)
  }
}

module.exports = { Channel }
