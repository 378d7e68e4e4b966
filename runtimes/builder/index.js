'use strict'
/* Runs in the sandbox of a build: takes the source beside it to /tmp, runs the steps of the event, and streams what they print as lines of
 * JSON; the last line says how many bytes of the program follow it, and whether a cache does behind those. Has no secret and reaches nothing but
 * package registries. */

const { spawn } = require('node:child_process')
const {
  cpSync,
  createReadStream,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
} = require('node:fs')
const path = require('node:path')
const { pipeline } = require('node:stream/promises')

const lineCharsMax = 2000
const cacheRoot = '/tmp'
/** Of 1980, the first day that an archive can name. */
const longAgo = 315_532_800

exports.handler = awslambda.streamifyResponse(async (event, output) => {
  const say = (message) => output.write(`${JSON.stringify(message)}\n`)
  const built = await build(event, say).catch((error) => void say({ failed: error.message }))
  if (built !== undefined) {
    const { program, kept } = built
    say({ programBytes: statSync(program).size, isCacheNext: kept.length > 0 })
    // What fails from here on fails the invocation: a part of a program or a cache is none.
    await pipeline(createReadStream(program), output, { end: false })
    if (kept.length > 0) await require('./cache.cjs').pack(cacheRoot, kept, output)
  }
  output.end()
})

async function build(event, say) {
  mkdirSync(event.outFolder, { recursive: true })
  const found = event.cache === undefined ? null : await unpackCaches(event.cache, say)
  // After the caches: what compilers compare by time is newer in the source.
  cpSync(path.join(__dirname, 'source'), event.workFolder, { recursive: true, verbatimSymlinks: true })
  for (const folder of event.lasting ?? []) age(path.join(event.workFolder, folder))
  for (const { title, argv, isVersion } of event.steps) {
    if (!isVersion) say({ step: title })
    const ended = await run(argv, event, isVersion ? ({ line }) => say({ version: line }) : say)
    if (ended !== 0) throw new Error(`${title} ended with ${ended}`)
  }
  const program = event.pack === undefined ? findProgram(event.output) : await require('./pack.js').pack(event.pack)
  return { program, kept: found === null ? [] : keptFiles(event.cache, found) }
}

function age(folder) {
  for (const entry of existsSync(folder) ? readdirSync(folder, { recursive: true, withFileTypes: true }) : [])
    if (entry.isFile()) utimesSync(path.join(entry.parentPath, entry.name), longAgo, longAgo)
}

/** Names of the files that come from the shared caches, and from the project's own. */
async function unpackCaches({ shared, own, folders }, say) {
  const cache = require('./cache.cjs')
  const found = { shared: new Set(), own: new Set() }
  if (!cache.isPossible) return found
  try {
    for (const file of shared) add(found.shared, await cache.unpack(path.join(__dirname, file), cacheRoot))
    for (const file of own) add(found.own, await cache.unpack(path.join(__dirname, file), cacheRoot))
  } catch (error) {
    for (const folder of folders) rmSync(path.join(cacheRoot, folder), { recursive: true, force: true })
    say({ cacheFailed: error.message })
    return { shared: new Set(), own: new Set() }
  }
  return found
}

function add(names, more) {
  for (const name of more) names.add(name)
}

/** What is worth keeping for the next build, shared files apart; nothing where this one added little. */
function keptFiles(wanted, found) {
  const cache = require('./cache.cjs')
  if (!cache.isPossible) return []
  const names = cache.filesOf(cacheRoot, wanted).filter((name) => !found.shared.has(name))
  const added = names.filter((name) => !found.own.has(name))
  const bytes = added.reduce((sum, name) => sum + statSync(path.join(cacheRoot, name)).size, 0)
  return bytes >= wanted.addedBytesMin ? names : []
}

function run(argv, { workFolder, env: declared }, say) {
  // What runs this knows where its Node lies, and nobody outside does.
  const env = { ...declared, PATH: declared.PATH.replace('{runner}', path.dirname(process.execPath)) }
  return new Promise((resolve) => {
    const child = spawn(argv[0], argv.slice(1), { cwd: workFolder, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let rest = ''
    const take = (chunk) => {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop().slice(0, lineCharsMax)
      for (const line of lines) say({ line: line.slice(0, lineCharsMax) })
    }
    child.stdout.setEncoding('utf8').on('data', take)
    child.stderr.setEncoding('utf8').on('data', take)
    child.on('error', (error) => resolve(error.message))
    child.on('close', (code, signal) => {
      if (rest !== '') say({ line: rest })
      resolve(code === null ? `signal ${signal}, which memory that runs out gives too` : code)
    })
  })
}

/** A file as it is; of a folder, the one program in it. */
function findProgram(place) {
  if (statSync(place).isFile()) return place
  const names = readdirSync(place).filter((name) => {
    const facts = statSync(path.join(place, name))
    return facts.isFile() && (facts.mode & 0o111) !== 0 && !/\.(so|d|rlib)$/.test(name)
  })
  const wanted = names.find((name) => name === 'hearth-bootstrap' || name === 'bootstrap')
  if (wanted === undefined && names.length !== 1)
    throw new Error(`The crate has ${names.length} programs (${names.join(', ')}): call the one to run "bootstrap".`)
  return path.join(place, wanted ?? names[0])
}
