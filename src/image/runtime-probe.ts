import { AppError } from '../domain/error.ts'
import { runtimeIds, type RuntimeFamily, type RuntimeId } from '../domain/runtime.ts'
import type { RuntimeCandidate } from './runtime-candidates.ts'
import { execFile } from 'node:child_process'
import { realpath } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'

/** What an interpreter said of itself. */
export interface ProbedRuntime {
  readonly id: RuntimeId
  readonly family: RuntimeFamily
  readonly version: string
  readonly executable: string
  readonly prefix: string
}

const run = promisify(execFile)
/** A version manager's shim takes 100 ms, a cold disk a second or two. */
const probeMsMax = 15_000

const questions: Readonly<Record<Exclude<RuntimeFamily, 'provided'>, readonly string[]>> = {
  node: ['-p', 'JSON.stringify({ version: process.versions.node, executable: process.execPath, prefix: "" })'],
  python: [
    '-c',
    'import sys, json; print(json.dumps({"version": "%d.%d.%d" % sys.version_info[:3], "executable": sys.executable, "prefix": sys.base_prefix}))',
  ],
}

/** Runs `path` and asks it; null when it does not run, or is of a version that Hearth has no name for. `unanswered` when that says nothing
 *  of the next time: it took too long, or the machine had no room to start it. */
export async function probeRuntime(
  { path, family }: RuntimeCandidate,
  timeoutMs = probeMsMax,
): Promise<ProbedRuntime | null | 'unanswered'> {
  try {
    const { stdout } = await run(path, [...questions[family]], { timeout: timeoutMs })
    const answer = readAnswer(JSON.parse(stdout))
    const id = idOf(family, answer.version)
    if (id === null) return null
    const executable = await realpath(answer.executable)
    const prefix = family === 'node' ? dirname(dirname(executable)) : await realpath(answer.prefix)
    return { id, family, version: answer.version, executable, prefix: isUnderUsr(prefix) ? '' : prefix }
  } catch (error) {
    // Not there, not runnable, a shim without its version: no runtime.
    return isPassing(error) ? 'unanswered' : null
  }
}

/** Ended by a signal (too slow, out of memory), or not started for lack of what may be there again. */
function isPassing(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if ('signal' in error && typeof error.signal === 'string') return true
  return 'code' in error && /^(EAGAIN|ENOMEM|EMFILE|ENFILE|ETXTBSY|EIO)$/.test(String(error.code))
}

function readAnswer(value: unknown): { version: string; executable: string; prefix: string } {
  const texts: Record<string, string> = {}
  if (typeof value === 'object' && value !== null)
    for (const [name, text] of Object.entries(value)) if (typeof text === 'string') texts[name] = text
  const { version, executable, prefix } = texts
  if (version === undefined || executable === undefined || prefix === undefined)
    throw new AppError('invalid', 'The interpreter did not answer what it is.')
  return { version, executable, prefix }
}

function idOf(family: keyof typeof questions, version: string): RuntimeId | null {
  const [major, minor] = version.split('.')
  const name = family === 'node' ? `node${major}` : `python${major}.${minor}`
  return runtimeIds.find((id) => id === name) ?? null
}

function isUnderUsr(path: string): boolean {
  return path === '/usr' || path.startsWith('/usr/')
}
