import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import net from 'node:net'
import path from 'node:path'
import { Client } from './client.ts'
import { body200 } from './subject.ts'

/** A local server from npm that is shaped like a functions platform. */
export interface Rival {
  readonly name: string
  readonly isolation: string
  readonly firstNote: string
  readonly packages: readonly string[]
  readonly files: Readonly<Record<string, string>>
  /** Two free ports are given; most need one. */
  readonly command: (port: number, second: number) => readonly string[]
  readonly path: string
  readonly body: string
  /** Its server is the function's own process, which a cold start has to start. */
  readonly isFunctionProcess: boolean
}

const root = path.resolve(import.meta.dirname, '../..')
const startMsMax = 60_000
const echo = 'exports.handler = async (event) => event\n'

export const rivals: readonly Rival[] = [
  {
    name: 'serverless-offline',
    isolation: 'worker thread',
    firstNote: 'server up, handler not loaded',
    packages: ['osls@4.3.1', 'serverless-offline@14.8.2'],
    files: {
      'handler.js': echo,
      'serverless.yml':
        "service: bench\nprovider:\n  name: aws\n  runtime: nodejs20.x\nplugins: [serverless-offline]\nfunctions:\n  hello:\n    handler: handler.handler\n    events: [{ httpApi: 'POST /hello' }]\n",
    },
    command: (port, second) => ['osls', 'offline', 'start', '--httpPort', String(second), '--lambdaPort', String(port)],
    path: '/2015-03-31/functions/bench-dev-hello/invocations',
    body: body200,
    isFunctionProcess: false,
  },
  {
    name: 'lambda-local',
    isolation: 'none: one process',
    firstNote: 'server up, handler not loaded',
    packages: ['lambda-local@2.2.0'],
    files: { 'h.js': 'exports.handler = async (event) => ({ statusCode: 200, body: JSON.stringify(event) })\n' },
    command: (port) => ['lambda-local', '-l', 'h.js', '-h', 'handler', '-t', '60', '--watch', String(port)],
    path: '/',
    body: JSON.stringify({ event: JSON.parse(body200) as unknown }),
    isFunctionProcess: false,
  },
  {
    name: 'functions-framework',
    isolation: 'none: one process',
    firstNote: 'from the start of its process, which is the function itself and holds no other',
    packages: ['@google-cloud/functions-framework@5.0.5'],
    files: { 'gf.js': 'exports.hello = (req, res) => { res.json(req.body) }\n' },
    command: (port) => ['functions-framework', '--source=gf.js', '--target=hello', `--port=${port}`],
    path: '/',
    body: body200,
    isFunctionProcess: true,
  },
]

/** The rival's folder with its packages and files, made once per content below build/: nothing of it is a dependency of Hearth. */
export async function installed(rival: Rival): Promise<string> {
  const { packages, files } = rival
  const digest = createHash('sha256').update(JSON.stringify({ packages, files })).digest('hex').slice(0, 16)
  const parent = path.join(root, 'build/rivals')
  const home = path.join(parent, `${rival.name}-${digest}`)
  if (existsSync(home)) return home
  await mkdir(parent, { recursive: true })
  const scratch = await mkdtemp(path.join(parent, 'new-'))
  try {
    for (const [file, text] of Object.entries(files)) await writeFile(path.join(scratch, file), text)
    await writeFile(path.join(scratch, 'package.json'), '{"private":true}')
    const options = ['--no-audit', '--no-fund', '--loglevel=error', '--legacy-peer-deps']
    execFileSync('npm', ['install', ...options, ...packages], { cwd: scratch, stdio: ['ignore', 'ignore', 'inherit'] })
    await rename(scratch, home)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
  return home
}

interface Started {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly startedAt: number | null
}

/** Runs `rival` until `use` is done. Throws when its port does not open. */
export function startRival(rival: Rival): (folder: string, use: (started: Started) => Promise<void>) => Promise<void> {
  return async (_folder, use) => {
    const home = await installed(rival)
    const [port, second] = [await freePort(), await freePort()]
    const [program = '', ...args] = rival.command(port, second)
    const startedAt = performance.now()
    const child = spawn(path.join(home, 'node_modules/.bin', program), args, {
      cwd: home,
      stdio: 'ignore',
      detached: true,
      env: { ...process.env, SLS_TELEMETRY_DISABLED: '1', SLS_NOTIFICATIONS_MODE: 'off' },
    })
    try {
      const url = `http://127.0.0.1:${port}${rival.path}`
      await listening(rival.name, url, child)
      const headers = { 'content-type': 'application/json' }
      await use({ url, headers, body: rival.body, startedAt: rival.isFunctionProcess ? startedAt : null })
    } finally {
      if (child.exitCode === null) process.kill(-(child.pid ?? 0), 'SIGKILL')
    }
  }
}

async function listening(name: string, url: string, child: ChildProcess): Promise<void> {
  const deadline = performance.now() + startMsMax
  while (performance.now() < deadline && child.exitCode === null) {
    const client = await Client.connect(url).catch(() => null)
    if (client !== null) return client.close()
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  throw new Error(`${name} did not listen within ${startMsMax / 1000} s (exit code ${child.exitCode}).`)
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}
