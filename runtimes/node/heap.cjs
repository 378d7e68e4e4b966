'use strict'

/** Makes V8 collect garbage before a small memory limit does it by killing. V8 sizes its heap by the machine, and its maximum cannot be changed
 *  once it runs; how fast it grows can. Measured, 50 MB live and much garbage, Node 26: peak RSS 356 MiB as it is, 258 with `growing`
 *  100, 157 and twice the time with a fixed young generation too, 132 with `growing` 40.
 *  Every Instance is started with the flags of 193 to 511 MiB (`interpreterFlags` in src/domain/runtime.ts), since the modules that change them
 *  later take 2 ms and 0.4 MiB. Call it after the code is loaded: V8 refuses bytecode that was made under other flags. */
function fitHeap(memoryMib) {
  const flags = flagsFor(memoryMib)
  if (flags.length === 0) return
  const v8 = require('node:v8')
  for (const flag of flags) v8.setFlagsFromString(flag)
}

/** What differs from the flags at the start. */
function flagsFor(memoryMib) {
  if (memoryMib <= 192) return ['--heap-growing-percent=40', '--semi-space-growth-factor=1']
  if (memoryMib < 512) return []
  return memoryMib < 1024 ? [youngGrows] : ['--heap-growing-percent=0', youngGrows]
}

/** V8's default. */
const youngGrows = '--semi-space-growth-factor=2'

module.exports = { fitHeap }
