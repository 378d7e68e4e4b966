import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { CliError } from './cli-error.ts'
import { commandWords } from './command-words.ts'
import { parsePackageJson } from './package-json.ts'

/** What a folder says of itself. */
export interface Inferred {
  readonly runtime: string
  readonly handler?: string
  /** Only where it is not the runtime's own. */
  readonly contract?: 'http' | 'azure'
  readonly command?: readonly string[]
  /** The file that left no doubt. */
  readonly from: string
}

/** What a runtime and its versions have in common: `node` of node24 and nodejs24.x. */
export function familyOf(runtime: string): string {
  return (/^[a-z]+/.exec(runtime)?.[0] ?? '').replace(/^nodejs$/, 'node')
}

/** As a deploy declares it. */
export function kindBody({ runtime, handler, contract, command }: Omit<Inferred, 'from'>) {
  return {
    runtime,
    ...(handler !== undefined && { handler }),
    ...(contract !== undefined && { contract }),
    ...(command !== undefined && { command: [...command] }),
  }
}

/** The same as flags, as one would type them. */
export function kindFlags({ runtime, handler, contract, command }: Omit<Inferred, 'from'>): string {
  const words = command?.map((word) => (/^[\w./:=@-]+$/.test(word) ? word : JSON.stringify(word))).join(' ')
  return [
    `--runtime ${runtime}`,
    ...(handler === undefined ? [] : [`--handler ${handler}`]),
    ...(contract === undefined ? [] : [`--contract ${contract}`]),
    ...(words === undefined ? [] : [`--command '${words}'`]),
  ].join(' ')
}

/** The top of a folder: its names, and the text of one of them, empty for one that is not there. */
interface Top {
  readonly names: ReadonlySet<string>
  readonly read: (name: string) => Promise<string>
  readonly port: number
}

/** Runtime and handler, or contract and command, of a folder that leaves no doubt. Throws CliError where it does. */
export async function inferRuntime(cwd: string, code: string, port = 8080): Promise<Inferred> {
  const folder = path.resolve(cwd, code)
  const names: readonly string[] = await readdir(folder).catch(() => [])
  const read = async (name: string): Promise<string> => readFile(path.join(folder, name), 'utf8').catch(() => '')
  const found = await candidates({ names: new Set(names), read, port })
  const [only] = found
  if (only !== undefined && found.length === 1) return only
  const why =
    only === undefined ? 'nothing in it says which' : `it could be ${found.map(({ runtime }) => runtime).join(' or ')}`
  throw new CliError(`Give --runtime: ${code} is not clear, ${why}.`)
}

async function candidates(top: Top): Promise<Inferred[]> {
  const { names } = top
  const compiled = [
    ...(names.has('go.mod') ? [await goOf(top)] : []),
    ...(names.has('Cargo.toml') ? [await rustOf(top)] : []),
  ]
  if (compiled.length > 0) return compiled
  if (names.has('bootstrap')) return [{ runtime: 'provided', from: 'bootstrap' }]
  const isAzure = names.has('host.json') && /"customHandler"/.test(await top.read('host.json'))
  const whole: Pick<Inferred, 'contract' | 'from'> | null = isAzure
    ? { contract: 'azure', from: 'host.json' }
    : names.has('run.sh')
      ? { contract: 'http', from: 'run.sh' }
      : null
  const interpreted = [await nodeOf(top), await pythonOf(top)].filter((each) => each !== null)
  if (whole === null) return interpreted
  // What is started says all: the language only which interpreter is beside it.
  if (interpreted.length === 0) return [{ runtime: isAzure ? 'provided' : 'http', ...whole }]
  return interpreted.map(({ runtime }) => ({ runtime, ...whole }))
}

/** A `main` that serves HTTP is a server, any other speaks to Lambda's Runtime API. */
async function goOf({ names, read }: Top): Promise<Inferred> {
  const files = [...names].filter((name) => name.endsWith('.go') && !name.endsWith('_test.go'))
  const text = (await Promise.all(files.map(read))).join('\n')
  const isServer = /^func main\(\)/m.test(text) && /\.(ListenAndServe(TLS)?|Serve)\(/.test(text)
  if (isServer && !text.includes('aws-lambda-go')) return { runtime: 'go', contract: 'http', from: 'go.mod' }
  return { runtime: 'go', handler: 'main.Handler', from: 'go.mod' }
}

async function rustOf({ read }: Top): Promise<Inferred> {
  const manifest = await read('Cargo.toml')
  const isServer = /^(axum|actix-web|hyper|rocket|warp)\b/m.test(manifest) && !/^lambda_/m.test(manifest)
  if (isServer) return { runtime: 'rust', contract: 'http', from: 'Cargo.toml' }
  return { runtime: 'rust', handler: 'main::handler', from: 'Cargo.toml' }
}

const exportsHandler =
  /exports\.handler\b|exports\s*=\s*\{[^}]*\bhandler\b|export\s+(?:const|let|var|(?:async\s+)?function\*?)\s+handler\b|export\s*\{[^}]*\bhandler\b/

async function nodeOf({ names, read }: Top): Promise<Inferred | null> {
  const index = ['index.js', 'index.mjs', 'index.cjs', 'index.ts', 'index.mts'].find((name) => names.has(name))
  if (index === undefined && !names.has('package.json')) return null
  const { main, scripts } = parsePackageJson(await read('package.json'))
  const entry = typeof main === 'string' ? path.posix.normalize(main) : index
  const text = entry === undefined ? '' : await read(entry)
  const exported = exportsHandler.test(text) ? 'handler' : /^export default\b/m.test(text) ? 'default' : null
  const start: unknown = typeof scripts === 'object' && scripts !== null && 'start' in scripts ? scripts.start : null
  if (exported === null && typeof start === 'string')
    return { runtime: 'node', contract: 'http', command: startWords(start), from: 'package.json' }
  const from = typeof main === 'string' || entry === undefined ? 'package.json' : entry
  const module = (entry ?? 'index').replace(/\.[cm]?[jt]s$/, '')
  return { runtime: 'node', handler: `${module}.${exported ?? 'handler'}`, from }
}

/** What npm would give to a shell, without one where none is needed. */
function startWords(start: string): readonly string[] {
  return /[&|;<>$`*?()\n]|^\w+=/.test(start) ? ['sh', '-c', start] : commandWords(start)
}

/** Servers of applications that are a name in a module. */
const pythonServers = [
  {
    app: /^(\w+)\s*(?::\s*\w+\s*)?=\s*(?:FastAPI|Starlette|Litestar|Quart)\(/m,
    server: 'uvicorn',
    at: ['--host', '0.0.0.0', '--port'],
  },
  { app: /^(\w+)\s*(?::\s*\w+\s*)?=\s*Flask\(/m, server: 'gunicorn', at: ['--bind'] },
] as const

async function pythonOf({ names, read, port }: Top): Promise<Inferred | null> {
  const module = ['main', 'app', 'lambda_function', 'index'].find((name) => names.has(`${name}.py`))
  if (module === undefined) return null
  const [from, text] = [`${module}.py`, await read(`${module}.py`)]
  const requirements = await read('requirements.txt')
  for (const { app, server, at } of pythonServers) {
    const name = app.exec(text)?.[1]
    if (name === undefined || !new RegExp(`^${server}\\b`, 'm').test(requirements)) continue
    const place = server === 'gunicorn' ? `0.0.0.0:${port}` : String(port)
    const command = ['python3', '-m', server, `${module}:${name}`, ...at, place]
    return { runtime: 'python', contract: 'http', command, from }
  }
  const isLambda = /^(async )?def lambda_handler\b/m.test(text) || module === 'lambda_function'
  return { runtime: 'python', handler: `${module}.${isLambda ? 'lambda_handler' : 'handler'}`, from }
}
