'use strict'
const crypto = require('node:crypto')
const os = require('node:os')

/** Answers an INVOKE of kind identity: what must differ between two clones of a snapshot, or must be as the host set it. */
function runIdentity(response) {
  const addresses = Object.values(os.networkInterfaces())
    .flat()
    .filter((entry) => !entry.internal)
    .map((entry) => entry.address)
  const env = {}
  for (const [name, value] of Object.entries(process.env))
    env[name] = crypto.createHash('sha256').update(value).digest('hex')
  const identity = {
    randomBytes: crypto.randomBytes(32).toString('hex'),
    uuid: crypto.randomUUID(),
    randomInt: crypto.randomInt(2 ** 48 - 1),
    mathRandom: Math.random(),
    nowMs: Date.now(),
    hostname: os.hostname(),
    addresses,
    env,
  }
  response.end(false, Buffer.from(JSON.stringify(identity)))
}

module.exports = { runIdentity }
