'use strict'
/* What a runtime does before its VM becomes a snapshot, and in each clone after it: docs/reference/guest-protocol.md, "Snapshots". */

const crypto = require('node:crypto')

const before = []
const after = []

/** For user code, as the global `hearth`. Hooks run in the order in which they were given, each awaited; without a snapshot, never. */
const hooks = Object.freeze({
  beforeSnapshot: (hook) => void before.push(checked(hook)),
  afterRestore: (hook) => void after.push(checked(hook)),
})

let seedMathRandom = () => {}
let areIntegersDrawn = true

/** Makes ready for a snapshot before user code is loaded: V8's own Math.random cannot be seeded anew, and clones would go on with the same
 *  numbers; and whether Node drew integers ahead is worth knowing, because using them up takes 40 ms. */
function watchRandomness() {
  const { random, seed } = makeRandom()
  seedMathRandom = seed
  seed()
  Object.defineProperty(Math, 'random', { value: random, writable: true, enumerable: false, configurable: true })
  areIntegersDrawn = false
  const { randomInt } = crypto
  crypto.randomInt = Object.defineProperties((...bounds) => {
    areIntegersDrawn = true
    return randomInt(...bounds)
  }, Object.getOwnPropertyDescriptors(randomInt))
  require('node:module').syncBuiltinESMExports()
}

/** Runs the `beforeSnapshot` hooks; compiles what a clone does first; leaves as little garbage as it can. */
async function prepare(hasUserCode) {
  for (const hook of before) await hook()
  for (let round = 0; round < 3; round++) reseed(hasUserCode)
  require('node:v8').setFlagsFromString('--expose-gc')
  require('node:vm').runInNewContext('gc')()
}

/** Makes every source of randomness this clone's own. The clock is a day back, which makes OpenSSL draw from the kernel anew; this first
 *  draw lets all its generators do so, those of other threads too. `hasUserCode`: Node keeps drawn numbers for later, which user code may have begun. */
function reseed(hasUserCode) {
  crypto.randomBytes(32)
  seedMathRandom()
  if (!hasUserCode) return
  for (let left = uuidsKept; left > 0; left--) crypto.randomUUID()
  for (let left = areIntegersDrawn ? integersKept : 0; left > 0; left--) crypto.randomInt(2)
}

/** Node draws this many at once (lib/internal/crypto/random.js): after as many calls none of the old is left. */
const uuidsKept = 128
const integersKept = 1024

async function runAfterRestore() {
  for (const hook of after) await hook()
}

function checked(hook) {
  if (typeof hook === 'function') return hook
  throw new TypeError(`A snapshot hook must be a function, not ${hook === null ? 'null' : typeof hook}.`)
}

/** xoshiro128** by Blackman and Vigna, 53 bits a number. */
function makeRandom() {
  const state = new Uint32Array(4)
  const seed = () => {
    do crypto.randomFillSync(state)
    while (state.every((word) => word === 0))
  }
  const next = () => {
    const product = Math.imul(state[1], 5)
    const result = Math.imul((product << 7) | (product >>> 25), 9)
    const shifted = state[1] << 9
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = (state[3] << 11) | (state[3] >>> 21)
    return result >>> 0
  }
  const random = () => ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992
  return { random, seed }
}

module.exports = { hooks, prepare, reseed, runAfterRestore, watchRandomness }
