import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { createHash } from 'node:crypto'
import { testCache } from './test-cache.ts'

/* An S3 server that nobody here wrote: moto's, from PyPI, in a folder named after what is in it. */

const requirement = 'moto[server]==5.2.5'
const run = promisify(execFile)

export interface S3Server {
  readonly url: string
  /** Allowed to do everything. */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string }
  stop(): Promise<void>
}

/** The program, installed once; null with the reason where it cannot be. */
export async function findS3Server(): Promise<{ program: string } | { missing: string }> {
  try {
    const { stdout } = await run('python3', ['--version'])
    const key = createHash('sha256').update(`${requirement} ${stdout}`).digest('hex').slice(0, 16)
    const folder = path.join(testCache('s3-server'), key)
    const program = path.join(folder, 'bin/python')
    if (existsSync(path.join(folder, 'whole'))) return { program }
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(path.dirname(folder), { recursive: true })
    await run('python3', ['-m', 'venv', folder])
    await run(program, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', requirement])
    mkdirSync(path.join(folder, 'draft'))
    renameSync(path.join(folder, 'draft'), path.join(folder, 'whole'))
    return { program }
  } catch (error) {
    return { missing: `${requirement} cannot be installed: ${String(error).split('\n').at(-1) ?? ''}` }
  }
}

/** Starts it on a free port, with one user; who is not that user is refused. */
export async function startS3Server(program: string): Promise<S3Server> {
  const child = spawn(program, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', '0'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, INITIAL_NO_AUTH_ACTION_COUNT: '1000000' },
  })
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  try {
    const url = await new Promise<string>((resolve, reject) => {
      let output = ''
      const look = (chunk: Buffer): void => {
        output += chunk.toString()
        const found = /Running on (http:\/\/127\.0\.0\.1:\d+)/.exec(output)?.[1]
        if (found !== undefined) resolve(found)
      }
      child.stdout.on('data', look)
      child.stderr.on('data', look)
      child.once('exit', (code) => reject(new Error(`the S3 server ended with ${code}: ${output}`)))
    })
    const credentials = await makeUser(url)
    await fetch(`${url}/moto-api/reset-auth`, { method: 'POST', body: '0' })
    return { url, credentials, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function makeUser(url: string): Promise<S3Server['credentials']> {
  await iam(url, { Action: 'CreateUser', UserName: 'tester' })
  const all = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] }
  await iam(url, {
    Action: 'PutUserPolicy',
    UserName: 'tester',
    PolicyName: 'all',
    PolicyDocument: JSON.stringify(all),
  })
  const made = await iam(url, { Action: 'CreateAccessKey', UserName: 'tester' })
  const value = (name: string): string => new RegExp(`<${name}>([^<]+)</${name}>`).exec(made)?.[1] ?? ''
  return { accessKeyId: value('AccessKeyId'), secretAccessKey: value('SecretAccessKey') }
}

/** Before it asks for signatures, the server only wants to know which of its services is meant. */
async function iam(url: string, parameters: Readonly<Record<string, string>>): Promise<string> {
  const reply = await fetch(url, {
    method: 'POST',
    headers: { authorization: 'AWS4-HMAC-SHA256 Credential=none/20260101/us-east-1/iam/aws4_request' },
    body: new URLSearchParams({ Version: '2010-05-08', ...parameters }),
  })
  const text = await reply.text()
  if (!reply.ok) throw new Error(`${parameters['Action']}: ${reply.status} ${text}`)
  return text
}
