import { directContract } from '../../src/domain/default-config.ts'
import assert from 'node:assert'
import type { FunctionError } from '../../src/domain/invocation.ts'
import { InitLink } from '../../src/wire/init-link.ts'
import type { InitBind, InitConfigure, InitFailure, InitHello } from '../../src/wire/init-messages.ts'
import { HostLink } from '../../src/wire/link.ts'
import type { BindMessage, Hello, InvokeMessage } from '../../src/wire/messages.ts'
import { GuestVm, type GuestVmOptions } from './guest-vm.ts'

export interface GuestBenchOptions extends GuestVmOptions {
  readonly argv: readonly string[]
  readonly hostname: string
}

/** Resolves at the first call of `hand`, whenever that was. */
class Once<T> {
  readonly #resolvers = Promise.withResolvers<T>()
  readonly hand = (value: T): void => this.#resolvers.resolve(value)
  readonly fail = (error: Error): void => this.#resolvers.reject(error)
  constructor() {
    this.#resolvers.promise.catch(() => {})
  }
  get promise(): Promise<T> {
    return this.#resolvers.promise
  }
}

/** A VM with the host's ends of its three channels, driven as driver and agent would. */
export class GuestBench {
  readonly vm: GuestVm
  readonly options: GuestBenchOptions
  readonly exit = new Once<InitFailure>()
  readonly failure = new Once<InitFailure>()
  initHello = new Once<InitHello>()
  supervisorHello = new Once<Hello>()
  /** Raw output, both descriptors. */
  output = ''
  log = ''
  #init: InitLink | null = null
  #runtime: HostLink | null = null
  #supervisor: HostLink | null = null
  #outputWatchers: (() => void)[] = []

  constructor(options: GuestBenchOptions) {
    this.options = options
    this.vm = new GuestVm(options)
  }

  get init(): InitLink {
    assert(this.#init !== null)
    return this.#init
  }

  get runtime(): HostLink {
    assert(this.#runtime !== null)
    return this.#runtime
  }

  get supervisor(): HostLink {
    assert(this.#supervisor !== null)
    return this.#supervisor
  }

  async connectInit(isRestored = false): Promise<void> {
    this.initHello = new Once()
    this.#init = new InitLink(await this.vm.connect('init'), {
      epoch: 'boot',
      isRestored,
      handlers: {
        onHello: this.initHello.hand,
        onExit: this.exit.hand,
        onFail: this.failure.hand,
        onClosed: (error) => this.initHello.fail(error ?? new Error('init channel closed')),
      },
    })
  }

  async connectSupervisor(epoch: string): Promise<void> {
    this.supervisorHello = new Once()
    const { hand, fail } = this.supervisorHello
    this.#supervisor = new HostLink(await this.vm.connect('supervisor'), {
      epoch,
      role: 'supervisor',
      handlers: {
        onHello: hand,
        onReady() {},
        onInitFail() {},
        onLog: (_stream, _fd, text) => {
          this.output += text.toString()
          for (const watch of this.#outputWatchers.splice(0)) watch()
        },
        onOpen: (_service, stream) => {
          stream.on('data', (chunk: Buffer) => stream.write(`echo ${chunk.toString()}`))
          stream.on('end', () => stream.end())
          return true
        },
        onClosed: (error) => fail(error ?? new Error('supervisor channel closed')),
      },
    })
  }

  /** Connects the runtime's channel and waits for its HELLO. */
  async connectRuntime(epoch: string): Promise<Hello> {
    const hello = new Once<Hello>()
    this.#ready = new Once()
    this.#runtime = new HostLink(await this.vm.connect('runtime'), {
      epoch,
      role: 'runtime',
      handlers: {
        onHello: hello.hand,
        onReady: (message) => this.#ready.hand(message),
        onInitFail: (error) => this.#ready.fail(new Error(`${error.errorType}: ${error.errorMessage}`)),
        onLog: (_stream, _fd, text) => (this.log += text.toString()),
        onOpen: () => false,
        onClosed: (error) => {
          hello.fail(error ?? new Error('runtime channel closed'))
          this.#ready.fail(error ?? new Error('runtime channel closed'))
          for (const fail of this.#calls) fail(error ?? new Error('runtime channel closed'))
        },
      },
    })
    return hello.promise
  }
  #ready = new Once<{ loadMs: number }>()
  readonly #calls = new Set<(error: Error) => void>()

  configuration(rest: Partial<InitConfigure> = {}): InitConfigure {
    return {
      instance: 'i-1',
      nowMs: Date.now(),
      logBytesPerSecond: 1_000_000,
      epoch: 'e1',
      argv: this.options.argv,
      env: { PATH: '/usr/bin:/bin', HOME: '/tmp', TZ: 'UTC', LANG: 'C.UTF-8', HEARTH_SNAPSHOT: '1' },
      hostname: this.options.hostname,
      pidsMax: 256,
      memoryMib: this.options.memoryMib - 32,
      seed: randomSeed(),
      ...rest,
    }
  }

  /** From power on to a runtime that has said HELLO. */
  async boot(): Promise<{ init: InitHello; supervisor: Hello; runtime: Hello }> {
    await this.connectInit()
    const init = await this.initHello.promise
    await this.connectSupervisor('e1')
    const runtime = this.connectRuntime('e1')
    this.init.configure(this.configuration())
    const failed = this.failure.promise.then((failure) => {
      throw new Error(`${failure.phase}: ${failure.errorMessage}`)
    })
    return {
      init,
      supervisor: await Promise.race([this.supervisorHello.promise, failed]),
      runtime: await Promise.race([runtime, failed]),
    }
  }

  async bind(handler: string, rest: Partial<BindMessage> = {}, network: InitBind['network'] = null): Promise<void> {
    const { memoryMib } = this.options
    await this.init.bind({
      hasCode: true,
      rootUser: null,
      memoryMib: memoryMib - 32,
      tmpMib: 64,
      pidsMax: 128,
      network,
    })
    this.runtime.configure({ instance: 'i-1', nowMs: Date.now(), logBytesPerSecond: 1_000_000 })
    this.runtime.bind({
      function: 'f',
      version: '1',
      project: 'default',
      handler,
      memoryMib: memoryMib - 32,
      timeoutMs: 30_000,
      env: {},
      taskRoot: '/var/task',
      cacheRoot: null,
      apiUrl: 'http://127.0.0.1:9010',
      region: 'local',
      accountId: '000000000000',
      logGroup: 'g',
      logStream: 's',
      purpose: 'serve',
      ...directContract,
      ...rest,
    })
    await this.#ready.promise
  }

  /** One invocation's body; throws the function's error. */
  async call(event: unknown, kind: InvokeMessage['kind'] = 'invoke'): Promise<Buffer> {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    const parts: Buffer[] = []
    const message = {
      id: 'x',
      deadlineMs: Date.now() + 60_000,
      contentType: 'application/json',
      traceparent: null,
      kind,
    }
    const stream = this.runtime.invoke(message, {
      onHead() {},
      onData: (chunk) => {
        parts.push(Buffer.from(chunk))
        stream.credit(chunk.length)
      },
      onEnd: () => resolve(Buffer.concat(parts)),
      onFail: (error: FunctionError) => reject(new Error(`${error.errorType}: ${error.errorMessage}`)),
      onIdle() {},
    })
    this.#calls.add(reject)
    stream.write(Buffer.from(JSON.stringify(event)), true)
    return promise.finally(() => this.#calls.delete(reject))
  }

  async json(event: unknown, kind: InvokeMessage['kind'] = 'invoke'): Promise<Record<string, unknown>> {
    const result: Record<string, unknown> = JSON.parse((await this.call(event, kind)).toString())
    return result
  }

  /** Resolves when raw output holds `text`. */
  async written(text: string): Promise<void> {
    while (!this.output.includes(text)) await new Promise<void>((resolve) => this.#outputWatchers.push(resolve))
  }

  /** The whole way to a snapshot; the VM is no more afterwards. */
  async save(stateFile: string): Promise<void> {
    await this.runtime.prepareSnapshot()
    await this.supervisor.ping()
    await this.init.prepareSnapshot()
    await this.vm.snapshot(stateFile)
  }

  /** The whole way from a snapshot to a runtime that has said HELLO. */
  async restore(stateFile: string, epoch: string): Promise<void> {
    await this.connectInit(true)
    await this.connectSupervisor(epoch)
    const runtime = this.connectRuntime(epoch)
    await this.vm.restore(stateFile)
    const nowMs = Date.now()
    await this.init.resume({ nowMs, seed: randomSeed(), epoch, instance: epoch, hostname: this.options.hostname })
    await this.init.syncClock()
    await this.supervisorHello.promise
    await runtime
  }

  disconnect(): void {
    this.#supervisor?.close()
    this.#runtime?.close()
    this.#init?.close()
  }

  async kill(): Promise<void> {
    this.disconnect()
    await this.vm.kill()
  }
}

export function randomSeed(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('hex')
}
