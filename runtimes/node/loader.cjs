'use strict'
const fs = require('node:fs')
const path = require('node:path')
const { pathToFileURL } = require('node:url')
const { RuntimeError } = require('./errors.cjs')

/** Tried in this order, as on Lambda, then TypeScript. */
const extensions = ['', '.js', '.mjs', '.cjs', '.ts', '.mts', '.cts']

/** Loads what a handler string names. Resolves to `{style: 'classic', call}` or `{style: 'fetch', call}`.
 *  Throws RuntimeError, or what the user's module threw. */
async function loadHandler(taskRoot, handler) {
  const name = parseHandler(handler)
  const file = resolveModule(taskRoot, name)
  const module = await loadModule(file)
  return pickHandler(module, name, handler)
}

/** `folder/file.a.b` -> folder/file and the export path a, b. Without a dot the default export is meant. */
function parseHandler(handler) {
  const base = path.posix.basename(handler)
  const dot = base.indexOf('.')
  const file = dot < 0 ? base : base.slice(0, dot)
  const exportPath = dot < 0 ? [] : base.slice(dot + 1).split('.')
  if (file === '' || handler.includes('..') || handler.endsWith('/') || exportPath.includes(''))
    throw new RuntimeError(
      'Runtime.MalformedHandlerName',
      `Bad handler "${handler}": must be FILE.EXPORT, e.g. "index.handler".`,
    )
  return { modulePath: path.posix.join(path.posix.dirname(handler), file), exportPath }
}

function resolveModule(taskRoot, { modulePath }) {
  const base = path.resolve(taskRoot, modulePath)
  for (const extension of extensions) if (isFile(base + extension)) return base + extension
  try {
    return require.resolve(`./${modulePath}`, { paths: [taskRoot] })
  } catch {
    const tried = extensions.slice(1).map((extension) => modulePath + extension)
    throw new RuntimeError(
      'Runtime.ImportModuleError',
      `Cannot find module "${modulePath}" in the function's code: tried ${tried.join(', ')}.`,
    )
  }
}

async function loadModule(file) {
  const isTypeScript = /\.[cm]?ts$/.test(file)
  if (isTypeScript && !process.features.typescript)
    throw new RuntimeError(
      'Runtime.ImportModuleError',
      `Node ${process.versions.node} cannot run ${path.basename(file)}: choose runtime node24 or node26 for TypeScript, or deploy JavaScript.`,
    )
  try {
    if (isEsModule(file)) return await importFile(file)
    return await requireOrImport(file)
  } catch (error) {
    throw asLoadError(error, file)
  }
}

/** A .js file without "type" may still be an ES module: newer Nodes find out themselves, for older ones this does. */
async function requireOrImport(file) {
  try {
    return require(file)
  } catch (error) {
    const code = error === null || typeof error !== 'object' ? undefined : error.code
    if (code !== 'ERR_REQUIRE_ESM' && code !== 'ERR_REQUIRE_ASYNC_MODULE') throw error
    return importFile(file)
  }
}

function importFile(file) {
  return require('./import.cjs').importModule(pathToFileURL(file).href)
}

function asLoadError(error, file) {
  if (error instanceof RuntimeError) return error
  const message = error instanceof Error ? error.message : ''
  const code = error instanceof Error ? error.code : undefined
  if (code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND')
    return new RuntimeError('Runtime.ImportModuleError', `Error: ${message}`, error)
  if (!(error instanceof SyntaxError)) return error
  const isModuleSyntax = /outside a module|Unexpected token 'export'|Cannot use 'import.meta'/.test(message)
  const hint = isModuleSyntax
    ? ` (${path.basename(file)} is an ES module: name it .mjs or set "type": "module" in package.json)`
    : ''
  return new RuntimeError('Runtime.UserCodeSyntaxError', `SyntaxError: ${message}${hint}`, error)
}

function pickHandler(module, { exportPath }, handler) {
  let owner
  let value = module
  const names = exportPath.length > 0 ? exportPath : ['default']
  for (const name of names) {
    owner = value
    value = isContainer(value) ? value[name] : undefined
  }
  if (value === undefined && exportPath.length === 0) value = module
  // `export default { fetch }` is meant by index, index.default and index.fetch alike.
  if (value === undefined && exportPath.length === 1 && exportPath[0] === 'fetch' && isContainer(module.default)) {
    owner = module.default
    value = owner.fetch
  }
  if (typeof value === 'function' && names.at(-1) === 'fetch') return { style: 'fetch', call: value.bind(owner) }
  if (typeof value === 'function') return { style: 'classic', call: value }
  if (isContainer(value) && typeof value.fetch === 'function') return { style: 'fetch', call: value.fetch.bind(value) }
  const what = value === undefined ? 'is undefined or not exported' : 'is not a function'
  throw new RuntimeError('Runtime.HandlerNotFound', `${handler} ${what}`)
}

function isContainer(value) {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}

function isEsModule(file) {
  if (/\.m[jt]s$/.test(file)) return true
  if (/\.c[jt]s$/.test(file)) return false
  return packageType(path.dirname(file)) === 'module'
}

/** The "type" of the nearest package.json at or above `folder`. */
function packageType(folder) {
  for (;;) {
    const file = path.join(folder, 'package.json')
    if (isFile(file)) return typeOf(file)
    const parent = path.dirname(folder)
    if (parent === folder) return undefined
    folder = parent
  }
}

function typeOf(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8')).type
  } catch {
    // A package.json that cannot be read is Node's to complain about.
    return undefined
  }
}

function isFile(file) {
  const stat = fs.statSync(file, { throwIfNoEntry: false })
  return stat !== undefined && stat.isFile()
}

module.exports = { loadHandler }
