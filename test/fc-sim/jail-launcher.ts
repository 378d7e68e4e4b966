import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  rmSync,
  watch,
  writeFileSync,
} from 'node:fs'
import { createInterface } from 'node:readline'
import path from 'node:path'
import { duplexPair, type Duplex } from 'node:stream'
import { z } from 'zod'

/* The launcher's verbs for jailed VMMs, spoken over the launcher protocol by a process that is root itself: the driver's tests need no more of the launcher. */

const instance = z.string().regex(/^[a-z0-9-]{1,40}$/)
const name = z.string().regex(/^[a-z0-9.-]{1,32}$/)
const requests = z.discriminatedUnion('verb', [
  z.strictObject({
    ...{
      id: z.int(),
      verb: z.literal('vm_jail'),
      instance,
      uid: z.int().min(1),
      jailer: z.string(),
      program: z.string(),
    },
    files: z.array(z.strictObject({ path: z.string(), name, access: z.enum(['read', 'write']) })),
    ...{ apiSocket: name, hasTap: z.boolean(), memoryMib: z.int(), cpuShare: z.int(), pidsMax: z.int() },
  }),
  z.strictObject({ id: z.int(), verb: z.literal('vm_share'), instance, name }),
  z.strictObject({ id: z.int(), verb: z.literal('vm_place'), instance, name, path: z.string() }),
  z.strictObject({ id: z.int(), verb: z.literal('stats'), instance, resetPeak: z.boolean() }),
  z.strictObject({ id: z.int(), verb: z.literal('kill'), instance }),
  z.strictObject({ id: z.int(), verb: z.literal('vm_adopt'), instance }),
])
type Asked<V> = Extract<z.infer<typeof requests>, { verb: V }>

interface Vm {
  readonly child: ChildProcess
  readonly ended: Promise<{ code: number | null; signal: string | null }>
  readonly root: string
}

const startMsMax = 30_000
const stderrBytesMax = 8_192

export class JailLauncher {
  /** For a LauncherClient. */
  readonly channel: Duplex
  readonly #own: Duplex
  readonly #base: string
  readonly #vms = new Map<string, Vm>()

  /** `base`: where jails are made. */
  constructor(base: string) {
    ;[this.channel, this.#own] = duplexPair()
    this.#base = base
    createInterface({ input: this.#own }).on('line', (line) => void this.#receive(line))
  }

  /** Names of jails and network namespaces that are still there. */
  leftovers(): string[] {
    return [...this.#vms.keys()]
  }

  async close(): Promise<void> {
    for (const id of this.#vms.keys()) await this.#kill(id)
    this.#own.end()
  }

  async #receive(line: string): Promise<void> {
    const raw: { id?: unknown } = JSON.parse(line)
    try {
      this.#send({ id: raw.id, ok: true, ...(await this.#perform(requests.parse(raw))) })
    } catch (error) {
      this.#send({
        id: raw.id,
        ok: false,
        error: error instanceof Error ? error.message : String(error),
        step: 'stand-in',
      })
    }
  }

  async #perform(request: z.infer<typeof requests>): Promise<object> {
    switch (request.verb) {
      case 'vm_jail':
        return this.#jail(request)
      case 'vm_share':
        await appears(path.join(this.#find(request.instance).root, request.name), this.#find(request.instance).ended)
        return {}
      case 'vm_place': {
        const { root } = this.#find(request.instance)
        mkdirSync(path.join(root, 'vm'), { recursive: true })
        give(request.path, path.join(root, 'vm', request.name))
        return {}
      }
      case 'stats':
        this.#find(request.instance)
        return { memoryBytes: 0, cpuMs: 0 }
      case 'kill':
        return this.#kill(request.instance)
      default:
        // vm_adopt: it is this launcher's own.
        this.#find(request.instance)
        return {}
    }
  }

  async #jail(request: Asked<'vm_jail'>): Promise<object> {
    const { instance: id, uid, jailer, program, files, apiSocket, hasTap } = request
    const home = path.join(this.#base, path.basename(program), id)
    const root = path.join(home, 'root')
    mkdirSync(root, { recursive: true })
    for (const { path: file, name: target, access } of files) {
      if (access === 'write') {
        writeFileSync(file, '', { flag: 'wx' })
        chownSync(file, 0, uid)
        chmodSync(file, 0o660)
      }
      give(file, path.join(root, target))
    }
    const netns = hasTap ? makeNetwork(id, uid) : []
    const argv = [
      '--id',
      id,
      '--exec-file',
      program,
      '--uid',
      `${uid}`,
      '--gid',
      `${uid}`,
      '--chroot-base-dir',
      this.#base,
    ]
    const child = spawn(jailer, [...argv, ...netns, '--', '--api-sock', apiSocket], {
      ...{ detached: true, stdio: ['ignore', 'ignore', 'pipe'] },
    })
    const ended = once(child, 'exit').then(([code, signal]) => ({ code, signal }))
    const vm = { child, ended, root }
    this.#vms.set(id, vm)
    this.#watch(id, vm, home)
    await appears(path.join(root, apiSocket), ended)
    return { pid: child.pid, root }
  }

  #watch(id: string, { child, ended }: Vm, home: string): void {
    let stderr = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-stderrBytesMax)))
    const clear = async (): Promise<void> => {
      const exit = await ended
      spawnSync('ip', ['netns', 'del', netnsOf(id)])
      rmSync(home, { recursive: true, force: true })
      this.#vms.delete(id)
      this.#send({ event: 'exited', instance: id, ...exit, oom: false, stderr })
    }
    void clear()
  }

  async #kill(id: string): Promise<object> {
    const vm = this.#vms.get(id)
    if (vm === undefined) return { code: null, signal: null, oom: false }
    // The group: the jailer and what it became.
    if (vm.child.exitCode === null && vm.child.signalCode === null) process.kill(-(vm.child.pid ?? 0), 'SIGKILL')
    return { ...(await vm.ended), oom: false }
  }

  #find(id: string): Vm {
    const vm = this.#vms.get(id)
    if (vm === undefined) throw new Error(`There is no instance "${id}".`)
    return vm
  }

  #send(message: object): void {
    if (!this.#own.writableEnded) this.#own.write(`${JSON.stringify(message)}\n`)
  }
}

/** The same file by another name, else a copy. Its reader has a uid of its own. */
function give(file: string, target: string): void {
  try {
    linkSync(file, target)
  } catch {
    copyFileSync(file, target)
  }
}

function netnsOf(id: string): string {
  return `fc-${id}`.slice(0, 60)
}

function makeNetwork(id: string, uid: number): string[] {
  const netns = netnsOf(id)
  for (const args of [
    ['netns', 'add', netns],
    ['-n', netns, 'tuntap', 'add', 'dev', 'tap0', 'mode', 'tap', 'user', `${uid}`],
    ['-n', netns, 'link', 'set', 'tap0', 'up'],
  ]) {
    const { status, stderr } = spawnSync('ip', args, { encoding: 'utf8' })
    if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`)
  }
  return ['--netns', `/run/netns/${netns}`]
}

/** Resolves when the file is there; throws when the VMM ends first. */
async function appears(file: string, ended: Promise<unknown>): Promise<void> {
  const seen = Promise.withResolvers<void>()
  const watcher = watch(path.dirname(file), () => existsSync(file) && seen.resolve())
  const timer = setTimeout(
    () => seen.reject(new Error(`${path.basename(file)} did not appear in ${startMsMax} ms.`)),
    startMsMax,
  )
  if (existsSync(file)) seen.resolve()
  const gone = ended.then(() => Promise.reject(new Error('The VMM has ended.')))
  try {
    await Promise.race([seen.promise, gone])
  } finally {
    clearTimeout(timer)
    watcher.close()
  }
}
