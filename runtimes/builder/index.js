'use strict'
/* Runs in the sandbox of a build: takes the source beside it to /tmp, runs the steps of the event, and streams what they print as lines of
 * JSON; the last line says how many bytes of the program follow it. Has no secret and reaches nothing but package registries. */

const { spawn } = require('node:child_process')
const { cpSync, createReadStream, mkdirSync, readdirSync, statSync } = require('node:fs')
const path = require('node:path')
const { pipeline } = require('node:stream/promises')

const lineCharsMax = 2000

exports.handler = awslambda.streamifyResponse(async (event, output) => {
  const say = (message) => output.write(`${JSON.stringify(message)}\n`)
  try {
    mkdirSync(event.outFolder, { recursive: true })
    cpSync(path.join(__dirname, 'source'), event.workFolder, { recursive: true, verbatimSymlinks: true })
    for (const { title, argv, isVersion } of event.steps) {
      if (!isVersion) say({ step: title })
      const ended = await run(argv, event, isVersion ? ({ line }) => say({ version: line }) : say)
      if (ended !== 0) throw new Error(`${title} ended with ${ended}`)
    }
    const program = event.pack === undefined ? findProgram(event.output) : await require('./pack.js').pack(event.pack)
    say({ programBytes: statSync(program).size })
    await pipeline(createReadStream(program), output, { end: false })
  } catch (error) {
    say({ failed: error.message })
  } finally {
    output.end()
  }
})

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
