import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import path from 'node:path'
import type { Platform } from './platform.ts'
import { until } from './until.ts'

/** Everything (but the launcher's empty mount point) that a platform on `data` could have left on this machine: processes, mounts, cgroups,
 *  interfaces, folders of Instances and of VMs' sockets, drafts of the artifact store. */
export function leftovers(data: string): string[] {
  return [...processesOf(data), ...mountsOf(data), ...cgroupsOf(data), ...interfacesOf(data), ...foldersOf(data)]
}

/** Name of the platform's cgroups: `identity` in guest/src/up, FNV-1a of the data folder's path. */
export function groupOf(data: string): string {
  let hash = 0xcbf29ce484222325n
  for (const byte of Buffer.from(data)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n)
  return `hearth-${(hash >> 16n).toString(16).padStart(12, '0')}`
}

/** What a running platform holds, counted: what grows with the number of calls is a leak. */
export interface Held {
  /** Without connections of clients, which end when the clients like. */
  readonly platformDescriptors: number
  readonly launcherDescriptors: number
  readonly platformRssMib: number
  readonly launcherRssMib: number
  readonly processes: number
  readonly cgroups: number
  /** In the launcher's own mount namespace. */
  readonly mounts: number
  readonly folders: number
  /** Network namespaces that any process of this platform is in. */
  readonly networkNamespaces: number
}

export function heldBy({ data, pid, launcherPid }: Platform): Held {
  const pids = pidsOf(data)
  return {
    platformDescriptors: descriptorsOf(pid),
    launcherDescriptors: descriptorsOf(launcherPid),
    platformRssMib: rssMib(pid),
    launcherRssMib: rssMib(launcherPid),
    processes: pids.length,
    cgroups: cgroupsOf(data).length,
    mounts: readFileSync(`/proc/${launcherPid}/mounts`, 'utf8').split('\n').length,
    folders: foldersOf(data).length,
    networkNamespaces: new Set(pids.map((each) => linkOf(`/proc/${each}/ns/net`))).size,
  }
}

/** What the platform holds once it has come to rest: its pool is full, nothing has changed for a second. */
export async function heldAtRest(platform: Platform): Promise<Held> {
  let last = heldBy(platform)
  let sinceMs = performance.now()
  await until(
    () => {
      const now = heldBy(platform)
      const isSame = now.processes === last.processes && now.platformDescriptors === last.platformDescriptors
      if (!isSame) sinceMs = performance.now()
      last = now
      return performance.now() - sinceMs > 1_000 ? true : JSON.stringify(now)
    },
    { what: 'the platform to come to rest' },
  )
  return last
}

/** By how much a figure may be higher than before. Memory is compared by whoever knows what to expect of it. */
const mayGrow: Readonly<Partial<Held>> = {
  processes: 0,
  cgroups: 0,
  mounts: 0,
  folders: 0,
  networkNamespaces: 0,
  platformDescriptors: 8,
  launcherDescriptors: 4,
}

/** Resolves when the platform holds no more than `before`; rejects, naming what grew, after `timeoutMs`. */
export async function untilHeld(platform: Platform, before: Held, timeoutMs = 30_000): Promise<void> {
  await until(
    () => {
      const now = heldBy(platform)
      const grown = Object.entries(mayGrow).flatMap(([what, by]) => {
        const key = what as keyof Held
        return now[key] > before[key] + by ? [`${what} from ${before[key]} to ${now[key]}`] : []
      })
      return grown.length === 0 ? true : grown.join(', ')
    },
    { timeoutMs, what: 'the platform to hold no more than before' },
  )
}

/** Processes of the platform on `data`: its own, the launcher's and all sandboxes'. */
export function pidsOf(data: string): number[] {
  return processesOf(data).map((line) => Number(/\d+/.exec(line)?.[0]))
}

function processesOf(data: string): string[] {
  const group = groupOf(data)
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
        // A machine whose launcher was killed is PID 1's child: where that reaps nobody its name stays, and nothing else of it.
        if (line === '' && /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) return []
        const isOurs = line.includes(data) || readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(group)
        return isOurs ? [`process ${pid}: ${line}`] : []
      } catch {
        // The process ended between readdir and read: not a leftover.
        return []
      }
    })
}

/** Network interfaces on this machine's side: `Plan` in guest/src/egress/rules.rs names them. One lives as long as its sandbox's network. */
function interfacesOf(data: string): string[] {
  const prefix = `hth${groupOf(data).slice('hearth-'.length, 'hearth-'.length + 6)}x`
  return readdirSync('/sys/class/net')
    .filter((name) => name.startsWith(prefix))
    .map((name) => `interface ${name}`)
}

function mountsOf(data: string): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.includes(`${data}/`))
    .map((line) => `mount ${line}`)
}

function cgroupsOf(data: string): string[] {
  const group = groupOf(data)
  return groupsBelow('/sys/fs/cgroup', 3)
    .filter((folder) => folder.includes(`/${group}/`))
    .map((folder) => `cgroup ${folder}`)
}

function groupsBelow(folder: string, levels: number): string[] {
  if (levels === 0) return []
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .flatMap(({ name }) => [path.join(folder, name), ...groupsBelow(path.join(folder, name), levels - 1)])
  } catch {
    // Removed while this was looking.
    return []
  }
}

function foldersOf(data: string): string[] {
  return ['instances', 'vm', 'tmp'].flatMap((name) => {
    const folder = path.join(data, name)
    if (!existsSync(folder)) return []
    return readdirSync(folder)
      .filter((entry) => entry !== '.work')
      .map((entry) => `folder ${name}/${entry}`)
  })
}

function descriptorsOf(pid: number): number {
  const connections = ['tcp', 'tcp6'].flatMap((name) =>
    readFileSync(`/proc/${pid}/net/${name}`, 'utf8')
      .split('\n')
      .map((line) => `socket:[${line.trim().split(/\s+/)[9]}]`),
  )
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => !connections.includes(linkOf(`/proc/${pid}/fd/${fd}`))).length
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return 'gone'
  }
}

function rssMib(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
}
