'use strict'
/* Entry of the Node runtime. Its third argument names a bundle that bundle.cjs made for this very interpreter: all modules in one file, with
 * V8's bytecode beside it, which saves each boot a dozen small files and their compilation. Without one the modules are loaded as they lie. */

const fs = require('node:fs')
const vm = require('node:vm')

// The host's flags are none of what a function starts.
process.execArgv = []
const [name, recordTo] = process.argv.splice(2)
const bundle = name === undefined ? null : readBundle(`${__dirname}/.bundle/${name}`)
if (bundle === null) require('./runtime.cjs')
else run(bundle)

function readBundle(path) {
  try {
    const source = fs.readFileSync(`${path}.js`, 'latin1')
    return { source, cachedData: recordTo === undefined ? fs.readFileSync(`${path}.cache`) : undefined }
  } catch {
    // Never made, or by somebody who may not write here: only slower.
    return null
  }
}

function run({ source, cachedData }) {
  const script = new vm.Script(source, { filename: `${__dirname}/bundle.js`, cachedData })
  // Taken when all that a start runs has run once, so that it is in it.
  if (recordTo !== undefined) process.on('exit', () => fs.writeFileSync(recordTo, script.createCachedData()))
  script.runInThisContext()(require, __dirname)
}
