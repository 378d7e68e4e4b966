import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { deployFiles, invoke } from './functions.ts'
import { startPlatform, type Platform } from './platform.ts'

const source =
  'exports.handler = async (event) => { await new Promise((r) => setTimeout(r, event.ms ?? 0)); return event }\n'

/** A small deterministic generator (0 to 1), so that a failing point can be repeated by its seed. */
export function random(seed: number): () => number {
  let state = seed % 4294967296
  return () => {
    state = (state * 1664525 + 1013904223) % 4294967296
    return state / 4294967296
  }
}

/** Kills the platform with SIGKILL at `points` seeded moments of deploying and invoking, restarting it on the same data each time;
 *  asserts that everything acknowledged before a kill answers after it. Resolves with the last running platform. */
export async function killAtPoints(data: string, points: number, seed: number): Promise<Platform> {
  const next = random(seed)
  const acknowledged = new Set<string>()
  let platform = await startPlatform({ data, keepData: true })
  for (let point = 0; point < points; point++) {
    const name = `crash-${point}`
    const work = deployAndInvoke(platform, name, () => acknowledged.add(name))
    await new Promise((resolve) => setTimeout(resolve, next() * 400))
    await platform.kill9()
    await work
    platform = await startPlatform({ data, keepData: true })
    for (const known of acknowledged) {
      const reply = await invoke(platform, known, { point })
      assert.deepEqual(reply.json(), { point }, `${known} after kill ${point} (seed ${seed})`)
    }
  }
  return platform
}

/** Runs until the platform dies under it. */
async function deployAndInvoke(platform: Platform, name: string, onAcknowledged: () => void): Promise<void> {
  try {
    await deployFiles(platform, {
      name,
      runtime: 'node',
      handler: 'index.handler',
      files: { 'index.js': `${source}// ${name}\n` },
    })
    onAcknowledged()
    for (;;) await invoke(platform, name, { ms: 5 })
  } catch {
    // The kill ends this on purpose; what counts is what was acknowledged before.
  }
}

/** Everything (but the launcher's empty mount point) that a platform on `data` could have left on this machine: processes, mounts, cgroups, instance folders. */
export function leftovers(data: string): string[] {
  const instances = path.join(data, 'instances')
  const folders = existsSync(instances)
    ? readdirSync(instances)
        .filter((name) => name !== '.work')
        .map((name) => `folder instances/${name}`)
    : []
  return [...processesOf(data), ...mountsOf(data), ...cgroupsOf(data), ...interfacesOf(data), ...folders]
}

/** Network interfaces on this machine's side: `Plan` in guest/src/egress/rules.rs names them. One lives as long as its sandbox's network. */
function interfacesOf(data: string): string[] {
  const prefix = `hth${groupOf(data).slice('hearth-'.length, 'hearth-'.length + 6)}x`
  return readdirSync('/sys/class/net')
    .filter((name) => name.startsWith(prefix))
    .map((name) => `interface ${name}`)
}

/** Name of the platform's cgroups: `identity` in guest/src/up/state.rs, FNV-1a of the data folder's path. */
export function groupOf(data: string): string {
  let hash = 0xcbf29ce484222325n
  for (const byte of Buffer.from(data)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n)
  return `hearth-${(hash >> 16n).toString(16).padStart(12, '0')}`
}

function processesOf(data: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
        const isOurs = line.includes(data) || readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(groupOf(data))
        return isOurs ? [`process ${pid}: ${line}`] : []
      } catch {
        // The process ended between readdir and read: not a leftover.
        return []
      }
    })
}

function mountsOf(data: string): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.includes(data))
    .map((line) => `mount ${line}`)
}

function cgroupsOf(data: string): string[] {
  const args = ['/sys/fs/cgroup', '-maxdepth', '4', '-type', 'd', '-path', `*/${groupOf(data)}/*`]
  const found = execFileSync('find', args, { encoding: 'utf8' }).trim()
  return found === '' ? [] : found.split('\n').map((line) => `cgroup ${line}`)
}
