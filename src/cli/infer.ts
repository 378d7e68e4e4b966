import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { CliError } from './cli-error.ts'

export interface Inferred {
  readonly runtime: string
  readonly handler: string | undefined
  /** The file that left no doubt. */
  readonly from: string
}

/** Runtime and handler of a folder that leaves no doubt. Throws CliError where it does. */
export async function inferRuntime(cwd: string, code: string): Promise<Inferred> {
  const folder = path.resolve(cwd, code)
  const names: readonly string[] = await readdir(folder).catch(() => [])
  const found = candidates(new Set(names))
  const [only] = found
  if (only === undefined || found.length > 1) {
    const why =
      only === undefined
        ? 'nothing in it says which'
        : `it could be ${found.map(({ runtime }) => runtime).join(' or ')}`
    throw new CliError(`Give --runtime: ${code} is not clear, ${why}.`)
  }
  if (only.from !== 'package.json') return only
  const main = await mainOf(path.join(folder, 'package.json'))
  return main === null ? only : { ...only, handler: `${main}.handler` }
}

function candidates(names: ReadonlySet<string>): Inferred[] {
  const python = ['main', 'app', 'lambda_function', 'index'].find((name) => names.has(`${name}.py`))
  const node = ['index.js', 'index.mjs', 'index.cjs', 'index.ts'].find((name) => names.has(name))
  const found: Inferred[] = []
  if (names.has('go.mod')) found.push({ runtime: 'go', handler: 'main.Handler', from: 'go.mod' })
  if (names.has('Cargo.toml')) found.push({ runtime: 'rust', handler: 'main::handler', from: 'Cargo.toml' })
  if (found.length > 0) return found
  if (names.has('bootstrap')) return [{ runtime: 'provided', handler: undefined, from: 'bootstrap' }]
  if (names.has('package.json') || node !== undefined)
    found.push({ runtime: 'node', handler: 'index.handler', from: node ?? 'package.json' })
  if (python !== undefined)
    found.push({
      runtime: 'python',
      handler: `${python}.${python === 'lambda_function' ? 'lambda_handler' : 'handler'}`,
      from: `${python}.py`,
    })
  return found
}

/** `main` of a package.json, as a handler names it: without extension. */
async function mainOf(file: string): Promise<string | null> {
  const text = await readFile(file, 'utf8').catch(() => '{}')
  try {
    const { main }: { main?: unknown } = JSON.parse(text)
    return typeof main === 'string' ? path.posix.normalize(main).replace(/\.[cm]?[jt]s$/, '') : null
  } catch {
    return null
  }
}
