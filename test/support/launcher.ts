import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '../..')
export const guestProgram = path.join(root, 'guest/target/release/hearth-guest')
const relay = path.join(import.meta.dirname, 'launcher-relay.mjs')

/** Why no launcher with all its features can be started here; null when one can. */
export function launcherMissing(): string | null {
  if (process.platform !== 'linux') return 'the launcher runs on Linux alone'
  if (process.getuid?.() !== 0) return 'sandboxes need root'
  if (!existsSync(guestProgram)) return 'guest/target/release/hearth-guest is not built'
  return null
}

/** Why limits, counts and freezing cannot be tried; false when they can. Cgroups and sizes of temporary file systems are the launcher's to set, and only as root. */
export const limitsMissing = process.getuid?.() === 0 ? false : 'limits and freezing need root'

/** Why no launcher can be started without root, as `uid`; null when one can. */
export function unprivilegedMissing(uid: number): string | null {
  if (process.platform !== 'linux') return 'the launcher runs on Linux alone'
  if (!existsSync(guestProgram)) return 'guest/target/release/hearth-guest is not built'
  const user = process.getuid?.() === 0 ? { uid, gid: uid } : {}
  const unreadable = [guestProgram, process.execPath, relay].filter(
    (file) => spawnSync('/usr/bin/test', ['-r', file], user).status !== 0,
  )
  if (unreadable.length > 0) return `uid ${uid} cannot read ${unreadable.join(', ')}`
  return spawnSync('unshare', ['--user', 'true'], user).status === 0 ? null : 'this machine allows no user namespaces'
}

export interface TestLauncher {
  readonly channel: net.Socket
  /** State folder; instances are below it. */
  readonly folder: string
  readonly pid: number
  output(): string
  /** SIGKILL to the process that stands for the platform; resolves when the launcher has ended. The folder stays. */
  crash(): Promise<void>
  close(): Promise<void>
}

/** A real launcher whose control socket ends in this process. It runs as this process's user; `options` go to `hearth-guest up`.
 *  `state`: its state folder, perhaps that of one that crashed; default: a fresh one. */
export async function startLauncher(options: readonly string[] = [], state?: string): Promise<TestLauncher> {
  const control = await mkdtemp(path.join(os.tmpdir(), 'hl-'))
  const folder = state ?? control
  await mkdir(path.join(folder, 'instances'), { recursive: true })
  const socketPath = path.join(control, 'control')
  const server = net.createServer()
  server.listen(socketPath)
  await once(server, 'listening')
  const child = spawn(
    guestProgram,
    ['up', '--uid', '0', '--gid', '0', '--state', folder, '--keep', root, '--keep', folder].concat([
      ...options,
      '--',
      process.execPath,
      relay,
      socketPath,
    ]),
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  let output = ''
  child.stdout.on('data', (text: Buffer) => (output += text.toString()))
  child.stderr.on('data', (text: Buffer) => (output += text.toString()))
  const ended = once(child, 'exit')
  const channel = await Promise.race([
    once(server, 'connection').then(([socket]) => socket as net.Socket),
    ended.then(() => Promise.reject(new Error(`The launcher ended: ${output}`))),
  ])
  server.close()
  if (folder !== control) await rm(control, { recursive: true })
  return {
    channel,
    folder,
    pid: child.pid ?? 0,
    output: () => output,
    async crash() {
      const children = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')
      for (const pid of children.trim().split(' '))
        if ((await readFile(`/proc/${pid}/cmdline`, 'utf8')).includes(relay)) process.kill(Number(pid), 'SIGKILL')
      await ended
      channel.destroy()
    },
    async close() {
      channel.destroy()
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}
