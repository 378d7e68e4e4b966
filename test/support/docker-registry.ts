import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fetchPackage, unpackPackage } from '../../src/image/debian-packages.ts'
import { testCache } from './test-cache.ts'

/* A registry that nobody here wrote: Debian's docker-registry, unpacked in a folder named after its version, never installed. */

const name = 'docker-registry'

/** The program; the reason where it cannot be had. */
export function findDockerRegistry(): { program: string } | { missing: string } {
  try {
    const about = execFileSync('apt-cache', ['show', '--no-all-versions', name], { encoding: 'utf8', stdio: 'pipe' })
    const version = /^Version: (\S+)$/m.exec(about)?.[1] ?? 'unknown'
    const folder = path.join(testCache(name), version.replaceAll(/[^\w.+-]/g, '_'))
    const program = path.join(folder, 'usr/bin', name)
    if (existsSync(program)) return { program }
    mkdirSync(path.dirname(folder), { recursive: true })
    const draft = mkdtempSync(`${folder}-`)
    try {
      const file = fetchPackage(name, path.join(draft, 'debs'))
      if (file === null) return { missing: `apt has no ${name}` }
      unpackPackage(file, path.join(draft, 'tree'))
      if (!existsSync(program)) renameSync(path.join(draft, 'tree'), folder)
      return { program }
    } finally {
      rmSync(draft, { recursive: true, force: true })
    }
  } catch (error) {
    return { missing: `${name} cannot be had: ${String(error).split('\n')[0] ?? ''}` }
  }
}

export interface DockerRegistry {
  /** HOST:PORT, as references have it. */
  readonly host: string
  readonly url: string
  stop(): Promise<void>
}

/** Starts it on a free port with its own storage; `auth` is the section of that name in its configuration, as JSON. */
export async function startDockerRegistry(program: string, auth: object = {}): Promise<DockerRegistry> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-registry-'))
  const configFile = path.join(folder, 'config.yml')
  const config = {
    version: '0.1',
    log: { level: 'info', formatter: 'json' },
    storage: { filesystem: { rootdirectory: path.join(folder, 'storage') }, delete: { enabled: true } },
    http: { addr: '127.0.0.1:0' },
    auth,
  }
  // JSON is YAML.
  writeFileSync(configFile, JSON.stringify(config))
  const child = spawn(program, ['serve', configFile], { stdio: ['ignore', 'pipe', 'pipe'] })
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    const host = await new Promise<string>((resolve, reject) => {
      let output = ''
      const look = (chunk: Buffer): void => {
        output += chunk.toString()
        const found = /listening on (127\.0\.0\.1:\d+)/.exec(output)?.[1]
        if (found !== undefined) resolve(found)
      }
      child.stdout.on('data', look)
      child.stderr.on('data', look)
      child.once('error', reject)
      child.once('exit', (code) => reject(new Error(`the registry ended with ${code}: ${output}`)))
    })
    return { host, url: `http://${host}`, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** A section of configuration that lets one user in, by a file in `folder`. */
export function htpasswdAuth(folder: string) {
  const [user, password] = ['puller', 'p:a ss']
  const file = path.join(folder, 'htpasswd')
  // bcrypt of that password, with the least cost.
  writeFileSync(file, `${user}:$2b$04$aBzBQ2WGYguYmCefrbn0ne/4BnP8u5SZDMvalhzBDjoB0zvLvu8Cy\n`)
  const headers = { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` }
  return { user, password, headers, section: { htpasswd: { realm: 'tests', path: file } } }
}
