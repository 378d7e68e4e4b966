'use strict'
const fs = require('node:fs')

/** Five ways to fail, to see what the platform makes of each. */
const ways = {
  throw: () => {
    throw new TypeError('thrown on purpose')
  },
  timeout: () => new Promise(() => {}),
  oom: () => {
    // Touched memory outside of V8's heap: the memory limit ends it, not V8.
    const held = []
    for (;;) held.push(Buffer.alloc(16 * 1024 * 1024, 1))
  },
  exit: () => process.exit(3),
  disk: () => {
    const megabyte = Buffer.alloc(1024 * 1024, 1)
    const file = fs.openSync('/tmp/fill', 'w')
    for (;;) fs.writeSync(file, megabyte)
  },
}

exports.handler = async ({ way }) => {
  const misbehave = ways[way]
  if (misbehave === undefined) return { ways: Object.keys(ways) }
  console.log(`about to ${way}`)
  return misbehave()
}
