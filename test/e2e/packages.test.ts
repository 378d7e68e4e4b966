import assert from 'node:assert/strict'
import { cpSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import type { CliResult } from '../support/platform.ts'
import { openWorkbench, works } from '../support/workbench.ts'

/* Packages of npm and PyPI, installed by the platform in a sandbox when a folder names them and does not hold them. */

const bench = openWorkbench('packages')
const { folder } = bench

async function call(name: string): Promise<unknown> {
  const { stdout, stderr, code } = await bench.platform.cli(['function', 'invoke', name])
  assert.equal(code, 0, stderr)
  return JSON.parse(stdout)
}

/** One package, without dependencies and with a program of its own. */
const manifest = '{"private":true,"dependencies":{"semver":"7.6.3"}}\n'
const integrity = 'sha512-oVekP1cKtI+CTDvHWYFUcMtsK/00wmAEfyqKfNdARm8u1wNVhSgaX7A8d4UuIlUI5e84iEwOhs7ZPYRmzU9U6A=='
const lock = JSON.stringify({
  lockfileVersion: 3,
  requires: true,
  packages: {
    '': { dependencies: { semver: '7.6.3' } },
    'node_modules/semver': {
      version: '7.6.3',
      resolved: 'https://registry.npmjs.org/semver/-/semver-7.6.3.tgz',
      integrity,
      bin: { semver: 'bin/semver.js' },
      engines: { node: '>=10' },
    },
  },
})
const handler = `const { execFileSync } = require('node:child_process')
const { lstatSync, readFileSync, existsSync } = require('node:fs')
exports.handler = async () => ({
  bin: execFileSync('node_modules/.bin/semver', ['-i', 'patch', '1.2.3'], { encoding: 'utf8' }).trim(),
  isLink: lstatSync('node_modules/.bin/semver').isSymbolicLink(),
  build: JSON.parse(readFileSync('hearth-build.json', 'utf8')),
  kept: existsSync('greeting.txt'),
})
`
const locked = { 'package.json': manifest, 'package-lock.json': lock, 'index.js': handler, 'greeting.txt': 'hi' }

test('npm: what package.json names is installed by its lock, links and executables as npm made them, with its provenance', async () => {
  const code = bench.source('locked', locked)
  const create = ['function', 'create', '--code', code, '--json', '--name']
  const first = await works(bench.platform.cli([...create, 'locked']))
  assert.match(first.stderr, /Installing what package\.json names/)
  assert.match(first.stderr, /Installed packages \(.* zipped\) with npm \d+\.\d+\.\d+, node 26\./)
  const answer = await call('locked')
  const lockDigest = `sha256:${await sha256(lock)}`
  assert.partialDeepStrictEqual(answer, { bin: '1.2.4', isLink: true, kept: true, build: { lock: lockDigest } })
  assert.match(JSON.stringify(answer), /"toolchain":"npm \d/)
  const second = await works(bench.platform.cli([...create, 'again']))
  assert.equal(digestIn(first), digestIn(second))
})

test('npm: a lock that does not fit is refused by name, with its own words, and the version before serves on', async () => {
  const other = manifest.replace('7.6.3', '7.6.2')
  const drifted = await bench.platform.cli([
    'function',
    'update',
    'locked',
    '--code',
    bench.source('drifted', { ...locked, 'package.json': other }),
  ])
  assert.equal(drifted.code, 1, drifted.stderr)
  assert.match(drifted.stderr, /Cannot build: npm ci with package-lock\.json ended with 1/)
  assert.match(drifted.stderr, /lock file's semver@7\.6\.3 does not satisfy semver@7\.6\.2/)
  const broken = { ...locked, 'package-lock.json': lock.replace('sha512-oVe', 'sha512-AAA') }
  const forged = await bench.platform.cli(['function', 'update', 'locked', '--code', bench.source('forged', broken)])
  assert.match(forged.stderr, /EINTEGRITY/)
  const yarn = bench.source('yarn', { 'package.json': manifest, 'yarn.lock': '', 'index.js': handler })
  const foreign = await bench.platform.cli(['function', 'update', 'locked', '--code', yarn])
  assert.equal(foreign.code, 2)
  assert.match(foreign.stderr, /npm, which reads no other lock/)
  assert.partialDeepStrictEqual(await call('locked'), { bin: '1.2.4' })
})

test('npm: what one build fetched is there for the next one with the same lock', async () => {
  const code = path.join(folder, 'express')
  cpSync(path.resolve(import.meta.dirname, '../../examples/express'), code, { recursive: true })
  await works(bench.platform.cli(['function', 'create', '--name', 'express', '--code', code]))
  // Only a build that fails tells what it began with.
  writeFileSync(path.join(code, 'package.json'), '{"dependencies":{"express":"5.3.0","semver":"7.6.3"}}')
  const failed = await bench.platform.cli(['function', 'update', 'express', '--code', code])
  assert.match(failed.stderr, /Cache: what a build with the same lock file left\./)
})

test('npm: nothing but registries can be reached, by install scripts neither', async () => {
  const script = `require('node:https').get('https://example.com/').on('error', (error) => { console.error('GOT', error.code ?? error.message); process.exit(7) })`
  const files = {
    'package.json': '{"private":true,"scripts":{"preinstall":"node reach.js"},"dependencies":{"semver":"7.6.3"}}',
    'reach.js': script,
    'index.js': handler,
  }
  const failed = await bench.platform.cli([
    'function',
    'create',
    '--name',
    'reach',
    '--code',
    bench.source('reach', files),
  ])
  assert.equal(failed.code, 1)
  assert.match(failed.stderr, /GOT E(AI_AGAIN|NOTFOUND|NETUNREACH|CONNREFUSED)/)
  const away = { ...files, '.npmrc': 'registry=https://example.com/\n', 'package.json': manifest }
  const refused = await bench.platform.cli([
    'function',
    'create',
    '--name',
    'away',
    '--code',
    bench.source('away', away),
  ])
  assert.match(refused.stderr, /403/)
})

test('--no-build deploys the folder as it is; nothing is built where all is there', async () => {
  const code = bench.source('bare', {
    ...locked,
    'index.js': 'exports.handler = async () => require("node:fs").readdirSync(".")',
  })
  const args = ['function', 'create', '--name', 'bare', '--code', code, '--no-build']
  assert.doesNotMatch((await works(bench.platform.cli(args))).stderr, /Install/)
  assert.deepEqual(await call('bare'), ['greeting.txt', 'index.js', 'package-lock.json', 'package.json'])
})

const six = 'six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274\n'
const python = 'def handler(event, context):\n    import six, sys\n    return [six.__version__, sys.version_info[1]]\n'

test("pip: what requirements.txt names is installed for the function's Python", async () => {
  const code = bench.source('py', { 'requirements.txt': six, 'main.py': python })
  const made = await works(bench.platform.cli(['function', 'create', '--name', 'py', '--code', code]))
  assert.match(
    made.stderr,
    /Inferred --runtime python .*\n.*\n?.*Installed packages .* with pip \d+\.\d+(\.\d+)?, python 3\./s,
  )
  const [version] = (await call('py')) as [string]
  assert.equal(version, '1.17.0')
})

test('pip: its own error is shown, and the version before serves on', async () => {
  const forged = bench.source('py-forged', { 'requirements.txt': six.replace('4721', '0000'), 'main.py': python })
  const failed = await bench.platform.cli(['function', 'update', 'py', '--code', forged])
  assert.equal(failed.code, 1)
  assert.match(failed.stderr, /Cannot build: pip install with requirements\.txt ended with 1/)
  assert.match(failed.stderr, /THESE PACKAGES DO NOT MATCH THE HASHES/)
  const absent = bench.source('py-absent', { 'requirements.txt': 'six==0.0.999\n', 'main.py': python })
  const missing = await bench.platform.cli(['function', 'update', 'py', '--code', absent])
  assert.match(missing.stderr, /No matching distribution found for six==0\.0\.999/)
  assert.equal(((await call('py')) as [string])[0], '1.17.0')
})

function digestIn({ stdout }: CliResult): string {
  const { codeDigest }: { codeDigest: string } = JSON.parse(stdout)
  return codeDigest
}

async function sha256(text: string): Promise<string> {
  return Buffer.from(await crypto.subtle.digest('SHA-256', Buffer.from(text))).toString('hex')
}
