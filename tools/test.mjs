/* npm test: sets up what is missing, then format, lint, types and house rules, unit and contract tests, the sandbox program's own, and end-to-end tests on the real platform.
 * Ends with one summary over all node:test runs, in node:test's form, and "N passed, N failed" over everything.
 * Arguments, if any, are the test files to run instead. */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { hasVms, startVmParts } from './test-vms.mjs'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const node = path.join(root, 'node_modules/.bin/node')
const fileTimeoutMs = 300_000
/** A guest's boot takes a second or two where it is emulated, and a suite boots many. */
const vmFileTimeoutMs = 900_000

/** In this order, with the sandbox program's own tests in between. */
const stages = {
  // In one process, as `npm run unit` has them: to start one for each file took longer than the tests.
  'unit, in one process': ['src', 'sdk', 'tools', 'runtimes'],
  contracts: ['test/contract', 'test/support', 'test/fc-sim'],
  'end to end': ['test/e2e'],
}
/** Driver suites on real guests: they need the kernel and the images that are made meanwhile. */
const vmFiles = /^test\/e2e\/vm-/
/** What a function can do in a process it does in a VM, unchanged: the same files on another driver. */
const suitesOnVms = JSON.parse(readFileSync(path.join(root, 'test/suites-on-vms.json'), 'utf8'))
const oneAtOnce = '--test-concurrency=1'
/** What waits for timeouts, downloads or one emulated core leaves the other free: two files at a time take two thirds of the time. */
const twoAtOnce = '--test-concurrency=2'

const totals = { tests: 0, suites: 0, pass: 0, fail: 0, cancelled: 0, skipped: 0, todo: 0, duration_ms: 0 }
const cargo = { passed: 0, failed: 0 }

function setUp(isWhole) {
  const wanted = isWhole && hasVms ? ['--test', '--kernel'] : ['--test']
  const setup = spawnSync(process.execPath, [path.join(root, 'tools/setup.mjs'), ...wanted], { stdio: 'inherit' })
  if (setup.status !== 0) process.exit(1)
}

async function nodeTests(title, files, { timeoutMs = fileTimeoutMs, env = {}, flags = [oneAtOnce] } = {}) {
  if (files.length === 0) return true
  console.log(`\n== ${title}: ${files.length} files`)
  const args = [
    '--test',
    '--test-reporter=spec',
    `--test-timeout=${timeoutMs}`,
    '--disable-warning=ExperimentalWarning',
    ...flags,
    ...files,
  ]
  let counted = false
  const code = await runLines(
    node,
    args,
    (line) => {
      const [, name, value] =
        /^\S+ (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) ([\d.]+)$/.exec(plain(line)) ?? []
      if (name === undefined) return console.log(line)
      counted = true
      totals[name] += Number(value)
    },
    env,
  )
  if (!counted) totals.fail += 1
  return code === 0
}

/** Format, lint, types, house rules: what `npm run ok` says before its unit tests. */
async function houseChecks() {
  console.log('\n== format, lint, types, house rules')
  const code = await runLines('sh', [path.join(root, 'tools/ok.sh'), 'checks'], (line) => console.log(line))
  if (code !== 0) totals.fail += 1
  return code === 0
}

const guest = path.join(root, 'guest')
const cargoTest = ['test', '--release', '--locked', '--quiet', '--manifest-path', path.join(guest, 'Cargo.toml')]
cargoTest.push('--config', path.join(guest, '.cargo/config.toml'))
const cargoProgram = process.env.CARGO ?? 'cargo'

/** Compiles the sandbox program's tests beside the house checks; what goes wrong is told when they are run. */
async function compileGuestTests() {
  await runLines(cargoProgram, [...cargoTest, '--no-run'], () => {})
}

async function guestTests() {
  console.log('\n== sandbox program: cargo test')
  const code = await runLines(cargoProgram, cargoTest, (line) => {
    const [, passed, failed] = /^test result: \w+\. (\d+) passed; (\d+) failed/.exec(plain(line)) ?? []
    if (passed !== undefined) {
      cargo.passed += Number(passed)
      cargo.failed += Number(failed)
    }
    console.log(line)
  })
  if (code !== 0 && cargo.failed === 0) cargo.failed += 1
  return code === 0
}

/** Runs a command, hands over each line of its output as it comes; resolves with the exit code. */
function runLines(command, args, receive, env = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, env: { ...testEnv(), ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [child.stdout, child.stderr]) {
      let rest = ''
      stream.setEncoding('utf8')
      stream.on('data', (chunk) => {
        const lines = (rest + chunk).split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) receive(line)
      })
      stream.on('end', () => rest !== '' && receive(rest))
    }
    child.on('error', (error) => {
      console.log(`Cannot run ${command}: ${error.message}`)
      resolve(1)
    })
    child.on('close', (code) => resolve(code ?? 1))
  })
}

/** The caller's own server, key and configuration must not reach the tests. */
function testEnv() {
  const env = { ...process.env, NODE_COMPILE_CACHE: path.join(root, 'build/compile-cache') }
  for (const name of Object.keys(env)) if (/^HEARTH_(?!TEST_)/.test(name)) delete env[name]
  env.PATH = [
    path.join(root, 'node_modules/.bin'),
    path.join(os.homedir(), '.cargo/bin'),
    process.env.PATH,
    '/usr/sbin',
  ].join(path.delimiter)
  return env
}

function filesOf(folders) {
  return folders
    .filter((folder) => existsSync(path.join(root, folder)))
    .flatMap((folder) =>
      readdirSync(path.join(root, folder), { recursive: true }).map((name) => path.join(folder, name)),
    )
    .filter((file) => file.endsWith('.test.ts') && !file.includes('node_modules'))
    .sort()
}

/** `few` evenly among `many`, the first one first. */
function spread(few, many) {
  const step = Math.ceil(many.length / few.length)
  return few.flatMap((file, at) => [file, ...many.slice(at * step, (at + 1) * step)])
}

function plain(line) {
  // oxlint-disable-next-line no-control-regex -- colours are control sequences
  return line.replaceAll(/\x1b\[[0-9;]*m/g, '')
}

async function main() {
  const chosen = process.argv.slice(2)
  setUp(chosen.length === 0)
  const passed = []
  if (chosen.length > 0) passed.push(await nodeTests('chosen', chosen))
  else {
    const vmParts = startVmParts(testEnv())
    const isLinux = process.platform === 'linux'
    const compiled = isLinux ? compileGuestTests() : null
    passed.push(await houseChecks())
    await compiled
    for (const [title, flags] of [['unit, in one process', ['--test-isolation=none']], ['contracts']])
      passed.push(await nodeTests(title, filesOf(stages[title]), { flags }))
    passed.push(!isLinux || (await guestTests()))
    await vmParts.finish()
    const endToEnd = filesOf(stages['end to end'])
    const onVms = endToEnd.filter((file) => vmFiles.test(file))
    const onProcesses = endToEnd.filter((file) => !vmFiles.test(file))
    const settings = { timeoutMs: vmFileTimeoutMs, flags: [twoAtOnce] }
    passed.push(await nodeTests('end to end', hasVms ? spread(onVms, onProcesses) : onProcesses, settings))
    const onQemu = { ...settings, env: { HEARTH_TEST_DRIVER: 'qemu' } }
    if (hasVms && process.getuid() === 0) passed.push(await nodeTests('end to end, in microVMs', suitesOnVms, onQemu))
    else if (hasVms)
      console.log(`\n== end to end, in microVMs: ${suitesOnVms.length} files skipped: sandboxes need root`)
  }
  console.log()
  for (const [name, value] of Object.entries(totals)) console.log(`\u2139 ${name} ${value}`)
  const skipped = totals.skipped > 0 ? `, ${totals.skipped} skipped` : ''
  const failed = totals.fail + totals.cancelled + cargo.failed
  console.log(`\n${totals.pass + cargo.passed} passed, ${failed} failed${skipped}`)
  process.exit(failed === 0 && passed.every(Boolean) ? 0 : 1)
}

await main()
