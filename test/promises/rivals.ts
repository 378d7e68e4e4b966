import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { median, type Row } from './measure.ts'
import { body200, deploy, invoke, invokeHeaders, invokeUrl, withPlatform } from './subject.ts'
import { load } from './wrk.ts'

const rounds = 3
const seconds = 3

interface Rival {
  readonly name: string
  readonly isolation: string
  readonly packages: readonly string[]
  readonly files: Readonly<Record<string, string>>
  readonly command: readonly string[]
  readonly url: string
  readonly body: string
}

const echo = 'exports.handler = async (event) => event\n'

/** Local Lambda-shaped servers from npm (notes in PROMISES.md): all run the handler in one process, without isolation. */
const rivals: readonly Rival[] = [
  {
    name: 'serverless-offline',
    isolation: 'worker thread',
    packages: ['osls@4.3.1', 'serverless-offline@14.8.2'],
    files: {
      'handler.js': echo,
      'serverless.yml':
        "service: bench\nprovider:\n  name: aws\n  runtime: nodejs20.x\nplugins: [serverless-offline]\nfunctions:\n  hello:\n    handler: handler.handler\n    events: [{ httpApi: 'POST /hello' }]\n",
    },
    command: ['node_modules/.bin/osls', 'offline', 'start', '--httpPort', '28085', '--lambdaPort', '28086'],
    url: 'http://127.0.0.1:28086/2015-03-31/functions/bench-dev-hello/invocations',
    body: body200,
  },
  {
    name: 'lambda-local',
    isolation: 'none',
    packages: ['lambda-local@2.2.0'],
    files: { 'h.js': 'exports.handler = async (event) => ({ statusCode: 200, body: JSON.stringify(event) })\n' },
    command: ['node_modules/.bin/lambda-local', '-l', 'h.js', '-h', 'handler', '-t', '60', '--watch', '28081'],
    url: 'http://127.0.0.1:28081/',
    body: JSON.stringify({ event: JSON.parse(body200) as unknown }),
  },
  {
    name: 'functions-framework',
    isolation: 'none',
    packages: ['@google-cloud/functions-framework@5.0.5'],
    files: { 'gf.js': 'exports.hello = (req, res) => { res.json(req.body) }\n' },
    command: ['node_modules/.bin/functions-framework', '--source=gf.js', '--target=hello', '--port=28082'],
    url: 'http://127.0.0.1:28082/',
    body: body200,
  },
]

interface Figures {
  readonly firstMs: number
  readonly p50Ms: number
  readonly rate: number
}

/** Warm figures and the first cold answer of each rival beside Hearth, alternating in one run. */
export default async function rivalsBench(folder: string): Promise<Row[]> {
  return withPlatform(folder, {}, async (platform) => {
    await deploy(platform, folder, { language: 'node', name: 'rival' })
    await pause(500)
    const first = (await invoke(platform, 'rival')).ms
    const hearth = {
      ...(await warm(folder, invokeUrl(platform, 'rival'), invokeHeaders(platform), body200)),
      firstMs: first,
    }
    const rows = describe('Hearth', 'own sandbox: namespaces, cgroup, uid, seccomp', hearth, null)
    for (const rival of rivals) {
      const figures = await measure(folder, rival).catch((error: unknown) => String(error))
      if (typeof figures === 'string') process.stderr.write(`${rival.name} could not be measured: ${figures}\n`)
      else rows.push(...describe(rival.name, rival.isolation, figures, hearth))
    }
    return rows
  })
}

function describe(name: string, isolation: string, figures: Figures, hearth: Figures | null): Row[] {
  const note = `isolation: ${isolation}`
  const row = (
    subject: string,
    value: number,
    unit: string,
    mine: number | undefined,
    higherIsBetter: boolean,
  ): Row => ({
    promise: 'rivals',
    subject: `${name}: ${subject}`,
    value,
    unit,
    limit: mine === undefined ? null : { what: 'Hearth', value: mine },
    bound: mine === undefined ? null : { op: higherIsBetter ? '<=' : '>=', value: 1 },
    note,
  })
  return [
    row('first answer of a deployed function', figures.firstMs, 'ms', hearth?.firstMs, false),
    row('warm p50, 1 client', figures.p50Ms, 'ms', hearth?.p50Ms, false),
    row('requests/s, 32 clients', figures.rate, 'req/s', hearth?.rate, true),
  ]
}

async function measure(folder: string, rival: Rival): Promise<Figures> {
  const home = path.join(folder, rival.name)
  await mkdir(home, { recursive: true })
  for (const [file, text] of Object.entries(rival.files)) await writeFile(path.join(home, file), text)
  await writeFile(path.join(home, 'package.json'), '{"private":true}')
  execFileSync('npm', ['install', '--silent', '--legacy-peer-deps', ...rival.packages], { cwd: home, stdio: 'ignore' })
  const child = spawn(rival.command[0] ?? '', rival.command.slice(1), {
    cwd: home,
    stdio: 'ignore',
    detached: true,
    env: { ...process.env, SLS_TELEMETRY_DISABLED: '1' },
  })
  try {
    const firstMs = await firstAnswer(rival, child)
    return { ...(await warm(home, rival.url, { 'content-type': 'application/json' }, rival.body)), firstMs }
  } finally {
    process.kill(-(child.pid ?? 0), 'SIGKILL')
  }
}

/** Waits for the port, then times the first request that is answered with 200. */
async function firstAnswer(rival: Rival, child: ChildProcess): Promise<number> {
  const deadline = performance.now() + 60_000
  while (performance.now() < deadline && child.exitCode === null) {
    const startedAt = performance.now()
    const reply = await fetch(rival.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: rival.body,
    }).catch(() => null)
    if (reply?.ok === true) {
      await reply.arrayBuffer()
      return performance.now() - startedAt
    }
    await pause(100)
  }
  throw new Error(`${rival.name} did not answer within 60 s`)
}

async function warm(
  folder: string,
  url: string,
  headers: Record<string, string>,
  body: string,
): Promise<Omit<Figures, 'firstMs'>> {
  const one: number[] = []
  const many: number[] = []
  for (let round = 0; round < rounds; round++) {
    one.push((await load({ url, clients: 1, seconds, method: 'POST', headers, body, folder })).p50Ms)
    many.push((await load({ url, clients: 32, seconds, method: 'POST', headers, body, folder })).requestsPerSecond)
  }
  return { p50Ms: median(one), rate: median(many) }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
