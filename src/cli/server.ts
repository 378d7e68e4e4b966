import { keyProblem, trimPasted } from '@hearth/sdk/pasted'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { CliError } from './cli-error.ts'
import { exitCodes } from './exit-codes.ts'
import { isRunning } from './is-running.ts'

/** The platform to talk to. */
export interface Server {
  readonly url: string
  readonly apiKey: string
  /** Data folder it was found by; null when flags or the environment named it. */
  readonly data: string | null
}

export interface ServerHints {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  /** Folder of the application: its `.hearth` is the last place to look. */
  readonly root: string
  readonly url: string | undefined
  readonly apiKey: string | undefined
}

/** Flags, then HEARTH_URL and HEARTH_API_KEY, then the running platform of the nearest data folder. Throws CliError with the way to start one. */
export async function findServer({ env, cwd, root, url, apiKey }: ServerHints): Promise<Server> {
  const wantedUrl = url === undefined ? fromEnv(env, 'HEARTH_URL', checkUrl) : checkUrl(url, '--url')
  const wantedKey = apiKey === undefined ? fromEnv(env, 'HEARTH_API_KEY', checkKey) : checkKey(apiKey, '--api-key')
  if (wantedUrl !== undefined && wantedKey !== undefined) return { url: wantedUrl, apiKey: wantedKey, data: null }
  const local = await findLocal(dataFolders({ env, cwd, root }), wantedUrl)
  if (local !== null) return { url: local.url, apiKey: wantedKey ?? local.apiKey, data: local.data }
  if (wantedUrl !== undefined)
    throw new CliError(`No API key for ${wantedUrl}.`, {
      exitCode: exitCodes.unauthorized,
      hint: 'Pass --api-key, or set HEARTH_API_KEY.',
    })
  throw new CliError('No platform found: there is no .hearth with a running one here or above.', {
    exitCode: exitCodes.internal,
    hint: startHint,
  })
}

export const startHint = 'Start one with "hearth up", or name one with HEARTH_URL and HEARTH_API_KEY.'

/** `.hearth` in the current folder and each one above, then the application's own. */
function dataFolders({ env, cwd, root }: Pick<ServerHints, 'env' | 'cwd' | 'root'>): readonly string[] {
  const named = env['HEARTH_DATA']
  if (named !== undefined) return [path.resolve(cwd, named)]
  const folders: string[] = []
  for (let folder = cwd; ; folder = path.dirname(folder)) {
    folders.push(path.join(folder, '.hearth'))
    if (path.dirname(folder) === folder) break
  }
  return [...new Set([...folders, path.join(root, '.hearth')])]
}

async function findLocal(folders: readonly string[], url: string | undefined): Promise<Server | null> {
  for (const data of folders) {
    const text = await readIfThere(path.join(data, 'server.json'))
    if (text === null) continue
    const server = JSON.parse(text) as { url: string; apiKeyFile: string; pid: number }
    if (url !== undefined && server.url !== url) continue
    if (!isRunning(server.pid))
      throw new CliError(`The platform of ${data} is not running: its process ${server.pid} has ended.`, {
        exitCode: exitCodes.internal,
        hint: startHint,
      })
    const apiKey = await readIfThere(server.apiKeyFile)
    if (apiKey !== null) return { url: server.url, apiKey: apiKey.trim(), data }
  }
  return null
}

/** Null when the file is absent. Throws CliError when it belongs to somebody else. */
async function readIfThere(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return null
    throw new CliError(`Cannot read ${file}: ${code === 'EACCES' ? 'it belongs to another user' : String(code)}.`, {
      exitCode: exitCodes.unauthorized,
      hint: 'Run the command as the user who started the platform, or set HEARTH_URL and HEARTH_API_KEY.',
      cause,
    })
  }
}

function fromEnv(
  env: ServerHints['env'],
  name: string,
  check: (text: string, name: string) => string,
): string | undefined {
  const text = env[name]
  return text === undefined ? undefined : check(text, name)
}

function checkUrl(text: string, name: string): string {
  const url = trimPasted(text)
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new CliError(`Invalid ${name} "${url}": must be like http://127.0.0.1:8080.`)
  return url.replace(/\/+$/, '')
}

function checkKey(text: string, name: string): string {
  const key = trimPasted(text)
  const problem = keyProblem(key)
  if (problem === null) return key
  throw new CliError(`${name} holds no API key: ${problem}.`, {
    exitCode: exitCodes.unauthorized,
    hint: 'Copy the key again; "hearth key create" makes a new one.',
  })
}
