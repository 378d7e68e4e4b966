import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'

export interface LoadResult {
  readonly requestsPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly errors: number
}

export interface Load {
  readonly url: string
  readonly clients: number
  readonly seconds: number
  readonly method: 'GET' | 'POST'
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Where the generated wrk script may lie. */
  readonly folder: string
}

/** Closed-loop load by wrk (one thread). Throws when wrk is missing or saw no reply at all. */
export async function load(spec: Load): Promise<LoadResult> {
  const script = path.join(spec.folder, `wrk-${process.pid}-${Math.random().toString(36).slice(2)}.lua`)
  const headers = Object.entries(spec.headers).map(
    ([name, value]) => `wrk.headers[${JSON.stringify(name)}]=${JSON.stringify(value)}`,
  )
  await writeFile(
    script,
    [`wrk.method=${JSON.stringify(spec.method)}`, `wrk.body=${luaString(spec.body)}`, ...headers].join('\n'),
  )
  const args = ['-t1', `-c${spec.clients}`, `-d${spec.seconds}s`, '--latency', '-s', script, spec.url]
  const { stdout } = await promisify(execFile)('wrk', args)
  const requestsPerSecond = Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1] ?? 0)
  if (requestsPerSecond === 0) throw new Error(`wrk saw no reply from ${spec.url}:\n${stdout}`)
  const errors = Number(/Non-2xx or 3xx responses: (\d+)/.exec(stdout)?.[1] ?? 0)
  return { requestsPerSecond, p50Ms: latency(stdout, '50%'), p99Ms: latency(stdout, '99%'), errors }
}

function latency(text: string, name: string): number {
  const [, value, unit] = new RegExp(`${name}\\s+([\\d.]+)(us|ms|s)`).exec(text) ?? []
  return Number(value) * (unit === 'us' ? 0.001 : unit === 's' ? 1000 : 1)
}

function luaString(text: string): string {
  return `[==[${text}]==]`
}
