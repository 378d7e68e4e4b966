/* Brings a fresh clone to the point where Hearth runs: npm packages (the pinned Node among them), a Rust toolchain, the
 * sandbox program. Runs on Node 20 without any package; does nothing, in a fraction of a second, when all is there.
 * `--test` adds the Debian packages that tests and benchmarks use, `--kernel` those that `hearth kernel build` uses. Progress goes to stderr. */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  accessSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const rustMin = [1, 75]

/** Programs that tests call, and the Debian packages they come in. */
const testPrograms = {
  nft: 'nftables',
  ip: 'iproute2',
  strace: 'strace',
  wrk: 'wrk',
  script: 'bsdutils',
  python3: 'python3',
  'qemu-system-x86_64': 'qemu-system-x86',
  'fsck.erofs': 'erofs-utils',
  cpio: 'cpio',
}

/** What `hearth kernel build` needs: a file of each package that tells whether it is there. */
const kernelBuildFiles = {
  'linux-source': '/usr/src/linux-source-*.tar.xz',
  make: '/usr/bin/make',
  gcc: '/usr/bin/gcc',
  flex: '/usr/bin/flex',
  bison: '/usr/bin/bison',
  bc: '/usr/bin/bc',
  'xz-utils': '/usr/bin/xz',
  'libelf-dev': '/usr/include/gelf.h',
  'libssl-dev': '/usr/include/openssl/opensslv.h',
}

class SetupError extends Error {}

async function main() {
  requireNode()
  await npmPackages()
  if (process.platform === 'linux') await sandboxProgram()
  else say(`no sandbox program on ${process.platform}: functions run as plain processes, without isolation`)
  if (process.argv.includes('--test')) await testPackages()
  if (process.argv.includes('--kernel')) await kernelPackages()
}

function requireNode() {
  const major = Number(process.versions.node.split('.')[0])
  if (major < 20)
    throw new SetupError(`Node ${process.versions.node} is too old: Hearth needs Node 20 or newer to set itself up.`)
}

/** `npm ci` when the packages are missing or differ from the lock file. */
async function npmPackages() {
  const hash = hashOf([path.join(root, 'package-lock.json')])
  const marker = path.join(root, 'node_modules/.hearth-lock')
  if (readText(marker) === hash) return
  const installed = modifiedMs(path.join(root, 'node_modules/.package-lock.json'))
  if (installed < modifiedMs(path.join(root, 'package-lock.json'))) {
    await step('npm packages', 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])
  }
  writeFileSync(marker, hash)
}

/** `cargo build --release` when the crate's sources differ from those of the last build. */
async function sandboxProgram() {
  const crate = path.join(root, 'guest')
  const binary = path.join(crate, 'target/release/hearth-guest')
  const marker = path.join(crate, 'target/release/.hearth-sources')
  if (!existsSync(path.join(crate, 'Cargo.toml')))
    throw new SetupError('guest/Cargo.toml is missing: the clone is incomplete.')
  const hash = hashOf(filesBelow(crate).filter((file) => /\.(rs|toml|lock|json)$/.test(file)))
  if (existsSync(binary) && readText(marker) === hash) return placeBridge(binary)
  const cargo = findCargo() ?? (await installRust())
  if (!isOnPath('cc')) await installLinker()
  const manifest = path.join(crate, 'Cargo.toml')
  // Cargo looks for it where it is started, not beside the manifest.
  const config = path.join(crate, '.cargo/config.toml')
  await step(
    'sandbox program',
    cargo,
    ['build', '--release', '--locked', '--quiet', '--manifest-path', manifest, '--config', config],
    {
      PATH: `${path.dirname(cargo)}${path.delimiter}${process.env.PATH}`,
      CARGO_TARGET_DIR: path.join(crate, 'target'),
    },
  )
  writeFileSync(marker, hash)
  placeBridge(binary)
}

/** In a folder of its own, which sandboxes see: by rename, since one that runs from it must not change under it. */
function placeBridge(binary) {
  const bridge = path.join(root, 'runtimes/provided/hearth-guest')
  if (existsSync(bridge) && readFileSync(bridge).equals(readFileSync(binary))) return
  mkdirSync(path.dirname(bridge), { recursive: true })
  copyFileSync(binary, `${bridge}.draft`)
  renameSync(`${bridge}.draft`, bridge)
}

/** A cargo whose rustc is new enough, or undefined. An old one is passed over: another may lie further down the PATH. */
function findCargo() {
  const folders = [...(process.env.PATH ?? '').split(path.delimiter), path.join(os.homedir(), '.cargo/bin'), '/usr/bin']
  for (const folder of new Set(folders.filter((entry) => path.isAbsolute(entry)))) {
    const cargo = path.join(folder, 'cargo')
    if (!isExecutable(cargo) || !isExecutable(path.join(folder, 'rustc'))) continue
    const version = spawnSync(path.join(folder, 'rustc'), ['--version'], { encoding: 'utf8' }).stdout ?? ''
    const [major = 0, minor = 0] = (/rustc (\d+)\.(\d+)/.exec(version) ?? []).slice(1).map(Number)
    const works = spawnSync(cargo, ['--version']).status === 0
    if (works && (major > rustMin[0] || (major === rustMin[0] && minor >= rustMin[1]))) return cargo
  }
  return undefined
}

/** Debian's rustc-web and cargo-web: its plain rustc is too old. */
async function installRust() {
  const wanted = `Rust ${rustMin.join('.')} or newer`
  const hint = 'Install it from https://rustup.rs, or on Debian with: apt-get install rustc-web cargo-web'
  if (!isDebian()) throw new SetupError(`${wanted} is needed to build the sandbox program and was not found. ${hint}`)
  if (process.getuid?.() !== 0)
    throw new SetupError(
      `${wanted} is needed to build the sandbox program and was not found, and only root may install it. ${hint}`,
    )
  await aptInstall('Rust toolchain', ['rustc-web', 'cargo-web', 'gcc', 'libc6-dev'])
  const cargo = findCargo()
  if (cargo === undefined)
    throw new SetupError(`rustc-web and cargo-web are installed, yet no ${wanted} was found in PATH.`)
  return cargo
}

/** rustc links with the machine's C compiler. */
async function installLinker() {
  if (isDebian() && process.getuid?.() === 0) return aptInstall('linker', ['gcc', 'libc6-dev'])
  throw new SetupError(
    'The sandbox program is linked with cc, which was not found. On Debian: apt-get install gcc libc6-dev',
  )
}

/** Tests skip, with the reason, what a missing program keeps them from. */
async function testPackages() {
  const missing = Object.entries(testPrograms).filter(([program]) => !isOnPath(program))
  if (missing.length === 0) return
  const packages = missing.map(([, name]) => name)
  if (isDebian() && process.getuid?.() === 0) {
    await aptInstall('test programs', packages).catch((error) =>
      say(`${error.message} Tests that need them are skipped.`),
    )
  } else
    say(
      `missing ${missing.map(([program]) => program).join(', ')} (packages ${packages.join(', ')}): tests that need them are skipped`,
    )
}

/** Without them `hearth kernel build` says what is missing, and microVMs boot Debian's kernel. */
async function kernelPackages() {
  const missing = Object.entries(kernelBuildFiles).filter(([, file]) => !isThere(file))
  if (missing.length === 0 || !isDebian() || process.getuid?.() !== 0) return
  const packages = missing.map(([name]) => name)
  await aptInstall('kernel build', packages).catch((error) => say(`${error.message} MicroVMs boot Debian's kernel.`))
}

/** A file, or any that fits a name with one `*`. */
function isThere(file) {
  const [head, tail] = file.split('*')
  if (tail === undefined) return existsSync(file)
  const names = existsSync(path.dirname(file)) ? readdirSync(path.dirname(file)) : []
  return names.some((name) => path.join(path.dirname(file), name).startsWith(head) && name.endsWith(tail))
}

async function aptInstall(title, packages) {
  const env = { DEBIAN_FRONTEND: 'noninteractive' }
  await step(`package lists`, 'apt-get', ['update', '-qq'], env)
  await step(
    `${title} (${packages.join(' ')})`,
    'apt-get',
    ['install', '-y', '-qq', '--no-install-recommends', ...packages],
    env,
  )
}

/** Runs a command, shows its output only when it fails, and says how long it took. */
async function step(title, command, args, env = {}) {
  const startedAt = performance.now()
  const isTty = process.stderr.isTTY
  if (isTty) process.stderr.write(`hearth: ${title} ...`)
  const { code, output } = await run(command, args, env)
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  if (isTty) process.stderr.write('\r\x1b[K')
  if (code !== 0) {
    process.stderr.write(output)
    throw new SetupError(`Cannot set up ${title}: "${[path.basename(command), ...args].join(' ')}" ended with ${code}.`)
  }
  say(`${title}: ${seconds} s`)
}

function run(command, args, env) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    child.stdout.on('data', (chunk) => (output += chunk))
    child.stderr.on('data', (chunk) => (output += chunk))
    child.on('error', (error) => resolve({ code: error.code, output: `${error.message}\n` }))
    child.on('close', (code, signal) => resolve({ code: code ?? signal, output }))
  })
}

function filesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.name !== 'target')
    .flatMap((entry) => {
      const file = path.join(folder, entry.name)
      return entry.isDirectory() ? filesBelow(file) : [file]
    })
    .sort((a, b) => (a < b ? -1 : 1))
}

function hashOf(files) {
  const hash = createHash('sha256').update(`${process.platform} ${process.arch}\n`)
  for (const file of files)
    hash
      .update(`${path.relative(root, file)}\0`)
      .update(readFileSync(file))
      .update('\0')
  return hash.digest('hex')
}

function readText(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

function modifiedMs(file) {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0
}

function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function isOnPath(program) {
  const folders = [...(process.env.PATH ?? '').split(path.delimiter), '/usr/sbin', '/sbin']
  return folders.some((folder) => isExecutable(path.join(folder, program)))
}

function isDebian() {
  return existsSync('/etc/debian_version') && isOnPath('apt-get')
}

function say(text) {
  process.stderr.write(`hearth: ${text}\n`)
}

try {
  mkdirSync(path.join(root, 'build'), { recursive: true })
  await main()
} catch (error) {
  if (!(error instanceof SetupError)) throw error
  process.stderr.write(`hearth: ${error.message}\n`)
  process.exit(1)
}
