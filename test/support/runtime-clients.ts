import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cp, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { testCache } from './test-cache.ts'

/* Clients of Lambda's Runtime API that nobody here wrote, with a function around each, made ready to deploy. Each is made once: its folder below
 * `clients` of the cache is named after all that goes into it. */

const root = path.resolve(import.meta.dirname, '../..')
const clientsFolder = testCache('clients')
const sourcesFolder = path.join(root, 'test/clients')
/** The slowest compiles 70 crates, or a client in C++. */
const stepMsMax = 280_000

export interface RuntimeClient {
  /** Below `test/clients`: what is deployed, before anything is installed or compiled. */
  readonly name: string
  /** Where it lies instead, below the top of the repository. */
  readonly from?: string
  /** Commands that run in a copy of it. */
  readonly steps: readonly (readonly [string, ...string[]])[]
  readonly env?: Readonly<Record<string, string>>
  /** What is left out of the deployed folder. */
  readonly scrap: readonly string[]
}

const target = process.arch === 'arm64' ? 'aarch64-unknown-linux-gnu' : 'x86_64-unknown-linux-gnu'

export const runtimeClients = {
  /** github.com/aws/aws-lambda-go, as go.mod pins it. */
  go: {
    name: 'go',
    steps: [['go', 'build', '-trimpath', '-ldflags=-s -w', '-o', 'bootstrap', '.']],
    env: { CGO_ENABLED: '0', GOFLAGS: '-mod=readonly' },
    scrap: ['main.go', 'go.mod', 'go.sum'],
  },
  /** The crates lambda_runtime and tokio, as Cargo.lock pins them. */
  rust: {
    name: 'rust',
    steps: [
      ['cargo', 'build', '--release', '--locked', '--quiet', '--target', target],
      ['cp', `target/${target}/release/client`, 'bootstrap'],
    ],
    env: { RUSTFLAGS: '-C target-feature=+crt-static' },
    scrap: ['src', 'target', 'Cargo.toml', 'Cargo.lock'],
  },
  /** npm's aws-lambda-ric, whose client is C++ around libcurl. */
  node: {
    name: 'node',
    // It is compiled by scripts of its own, which newer releases of npm run only when package.json says so.
    steps: [['npm', 'ci', '--no-audit', '--no-fund', '--loglevel=error', '--foreground-scripts']],
    scrap: [],
  },
  /** PyPI's awslambdaric. */
  python: {
    name: 'python',
    steps: [['python3', '-m', 'pip', 'install', '--quiet', '--target', '.', '-r', 'requirements.txt']],
    scrap: [],
  },
} as const satisfies Record<string, RuntimeClient>

/** Web servers that nobody here wrote, in the examples' apps. */
export const webServers = {
  express: {
    name: 'express',
    from: 'examples/express',
    steps: [['npm', 'ci', '--omit=dev', '--no-audit', '--no-fund', '--loglevel=error']],
    scrap: [],
  },
  fastapi: {
    name: 'fastapi',
    from: 'examples/fastapi',
    steps: [['python3', '-m', 'pip', 'install', '--quiet', '--target', '.', '-r', 'requirements.txt']],
    scrap: [],
  },
  'go-http': {
    name: 'go-http',
    from: 'examples/go-http',
    steps: [['go', 'build', '-trimpath', '-ldflags=-s -w', '-o', 'bootstrap', '.']],
    env: { CGO_ENABLED: '0' },
    scrap: ['main.go', 'go.mod'],
  },
} as const satisfies Record<string, RuntimeClient>

/** Runtime of the Python whose pip installs: packages are compiled for it. */
export async function pythonOfPip(): Promise<string> {
  const print = 'import sys; print("python%d.%d" % sys.version_info[:2])'
  return promisify(execFile)('python3', ['-c', print]).then(
    ({ stdout }) => stdout.trim(),
    () => 'python',
  )
}

/** AWS's packages that call a handler of Node or Python, and the functions around them. */
export interface RicFunction {
  readonly title: string
  readonly language: 'node' | 'python'
  readonly client: RuntimeClient
  /** What the interpreter is started with. */
  readonly args: readonly string[]
  /** Flags of `hearth function create`. */
  readonly flags: readonly string[]
}

export const ricFunctions = {
  node: ricFunction('node', {
    title: 'aws-lambda-ric of npm',
    language: 'node',
    client: runtimeClients.node,
    command: ['node', 'node_modules/aws-lambda-ric/index.mjs', 'index.handler'],
  }),
  python: ricFunction(await pythonOfPip(), {
    title: 'awslambdaric of PyPI',
    language: 'python',
    client: runtimeClients.python,
    command: ['python3', '-m', 'awslambdaric', 'app.handler'],
  }),
} as const

function ricFunction(
  runtime: string,
  { command, ...of }: Pick<RicFunction, 'title' | 'language' | 'client'> & { command: readonly string[] },
): RicFunction {
  const contract = ['--handler', command.at(-1) ?? '', '--contract', 'runtime-api', '--command', command.join(' ')]
  return { ...of, args: command.slice(1), flags: ['--runtime', runtime, ...contract] }
}

/** The folder to deploy; or, where it cannot be made here, why, in one line. */
export async function makeClient(client: RuntimeClient): Promise<{ folder: string } | { reason: string }> {
  const source = client.from === undefined ? path.join(sourcesFolder, client.name) : path.join(root, client.from)
  const key = await recipeKey(client, source)
  const folder = path.join(clientsFolder, `${client.name}-${key}`)
  if (await isThere(folder)) return { folder }
  const draft = `${folder}.draft-${process.pid}`
  try {
    await mkdir(clientsFolder, { recursive: true })
    await cp(source, draft, { recursive: true })
    for (const [program, ...args] of client.steps) await run(program, args, { cwd: draft, env: client.env ?? {} })
    for (const name of client.scrap) await rm(path.join(draft, name), { recursive: true, force: true })
    await rename(draft, folder)
    return { folder }
  } catch (error) {
    await rm(draft, { recursive: true, force: true })
    const text = error instanceof Error ? error.message : String(error)
    return { reason: `the ${client.name} client cannot be made here: ${text.trim().split('\n').at(-1)}` }
  }
}

async function run(
  program: string,
  args: string[],
  of: { cwd: string; env: Readonly<Record<string, string>> },
): Promise<void> {
  // The first Node in PATH may be the platform's own, whose npm is another program's.
  const env = {
    ...process.env,
    ...of.env,
    PATH: `${process.env['PATH'] ?? ''}:/usr/local/go/bin:${os.homedir()}/.cargo/bin`,
  }
  await promisify(execFile)(program, args, { cwd: of.cwd, env, timeout: stepMsMax, maxBuffer: 2 ** 24 })
}

async function recipeKey(client: RuntimeClient, source: string): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([client, process.arch]))
  for (const name of await filesBelow(source)) hash.update(`${name}\0`).update(await readFile(path.join(source, name)))
  return hash.digest('hex').slice(0, 16)
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile())
  return files
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .toSorted((a, b) => a.localeCompare(b))
}

async function isThere(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  )
}
