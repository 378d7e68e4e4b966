'use strict'
const fs = require('node:fs')
const path = require('node:path')
const vm = require('node:vm')
const { Module, createRequire } = require('node:module')
const { pathToFileURL } = require('node:url')

/* V8 bytecode made at deploy. Only CommonJS has a way in; ES modules are compiled at each start. */

/** Below this, reading a second file costs what compiling saves. */
const sourceBytesMin = 4 * 1024
/** Files that loading did not reach are compiled only from this size on: bundles, loaded late. */
const unreachedBytesMin = 64 * 1024
const packBytesMax = 64 * 1024 * 1024
const suffix = '.v8cache'

/** Makes `require` use the bytecode under `cacheRoot`. A cache that V8 refuses (another version, other flags) is as good as none. */
function useBytecode(taskRoot, cacheRoot) {
  if (!fs.existsSync(cacheRoot)) return
  hookCompile((content, filename) => {
    const relative = path.relative(taskRoot, filename)
    if (content.length < sourceBytesMin || relative.startsWith('..')) return null
    try {
      return compile(content, filename, fs.readFileSync(path.join(cacheRoot, relative + suffix)))
    } catch {
      return null
    }
  })
}

/** Compiles the code under `taskRoot`: runs `load` (the handler's own start, which may fail) with every file noted, then takes the
 *  bytecode, lazily compiled functions included. Yields `[relative path, bytes]`. */
async function makeBytecode(taskRoot, load) {
  const scripts = new Map()
  const unhook = hookCompile((content, filename) => {
    if (content.length < sourceBytesMin || path.relative(taskRoot, filename).startsWith('..')) return null
    const script = compile(content, filename)
    scripts.set(filename, script)
    return script
  })
  try {
    await load()
  } finally {
    unhook()
    for (const file of largeSources(taskRoot))
      if (!scripts.has(file)) {
        try {
          scripts.set(file, compile(stripShebang(fs.readFileSync(file, 'utf8')), file))
        } catch {
          // An ES module, or no JavaScript of this version: it has no bytecode.
        }
      }
  }
  return pack(taskRoot, scripts)
}

function* pack(taskRoot, scripts) {
  let bytes = 0
  for (const [file, script] of scripts) {
    const data = script.createCachedData()
    bytes += data.length
    if (bytes > packBytesMax) return
    yield [path.relative(taskRoot, file) + suffix, data]
  }
}

/** Lets `compileWith(content, filename)` give the Script of a CommonJS module; null leaves it to Node. */
function hookCompile(compileWith) {
  const original = Module.prototype._compile
  Module.prototype._compile = function (content, filename, format) {
    if (format === 'module') return original.apply(this, arguments)
    let script = null
    try {
      script = compileWith(stripShebang(content), filename)
    } catch {
      // Node's own compile reports the syntax error, or finds that this is an ES module.
    }
    if (script === null) return original.apply(this, arguments)
    const run = script.runInThisContext()
    return run.call(this.exports, this.exports, requireOf(this), this, filename, path.dirname(filename))
  }
  return () => {
    Module.prototype._compile = original
  }
}

/** What Node's own loader gives to a module as `require`, as far as it can be made from outside. */
function requireOf(module) {
  const own = createRequire(module.filename)
  const require = (id) => module.require(id)
  require.resolve = own.resolve
  require.main = process.mainModule
  require.extensions = own.extensions
  require.cache = own.cache
  return require
}

function compile(content, filename, cachedData) {
  const script = new vm.Script(Module.wrap(content), {
    filename,
    cachedData,
    importModuleDynamically: dynamicImport(filename),
  })
  return cachedData !== undefined && script.cachedDataRejected ? null : script
}

/** Lets `import()` work in a script: by Node's own loader from 20.10 on, on older ones by resolving here. */
function dynamicImport(filename) {
  const own = vm.constants && vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER
  if (own !== undefined) return own
  return (specifier) => {
    if (/^(\.{1,2}\/|\/)/.test(specifier))
      return import(pathToFileURL(path.resolve(path.dirname(filename), specifier)).href)
    if (/^[a-z]+:/.test(specifier)) return import(specifier)
    return import(pathToFileURL(createRequire(filename).resolve(specifier)).href)
  }
}

function stripShebang(content) {
  return content.startsWith('#!') ? `//${content}` : content
}

function* largeSources(folder) {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name)
    if (entry.isDirectory()) yield* largeSources(file)
    else if (entry.isFile() && /\.c?js$/.test(entry.name) && fs.statSync(file).size >= unreachedBytesMin) yield file
  }
}

module.exports = { useBytecode, makeBytecode }
