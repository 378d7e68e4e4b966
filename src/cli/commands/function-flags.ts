import { CliError } from '../cli-error.ts'
import type { Arguments, Flags, Input } from '../command.ts'
import { commandWords } from '../command-words.ts'

/** What can be declared of a function, for `create` and `update`: MB and seconds here, MiB and ms in the API. */
export const functionFlags = {
  contract: {
    type: 'text',
    value: 'KIND',
    about: 'how the code is spoken to: handler, runtime-api, http or azure (default: by the runtime)',
    allowed: ['handler', 'runtime-api', 'http', 'azure'],
  },
  command: { type: 'text', value: 'COMMAND', about: 'program and arguments to start, for contracts but handler' },
  port: { type: 'integer', value: 'PORT', about: 'where a program with contract http listens (default: 8080)' },
  'instance-concurrency': {
    type: 'integer',
    value: 'N',
    about: 'requests that one Instance serves at a time, with contract http, 1-80 (default: 1)',
  },
  memory: { type: 'integer', value: 'MB', about: 'memory limit, 128-2048 (default: 256); CPU grows with it' },
  timeout: { type: 'integer', value: 'S', about: 'time limit of one invocation, 1-300 s (default: 30)' },
  concurrency: { type: 'integer', value: 'N', about: 'invocations at the same time, 1-100 (default: 10)' },
  ephemeral: { type: 'integer', value: 'MB', about: 'size of /tmp, 64-10240 (default: 512)' },
  env: { type: 'list', value: 'NAME=VALUE', about: 'environment variable, 4 KB in all' },
  secret: { type: 'list', value: 'NAME=SECRET', about: 'environment variable with the value of a secret' },
  network: {
    type: 'text',
    value: 'MODE',
    about: 'none: no network (default); egress: the internet, not this host',
  },
  isolation: {
    type: 'text',
    value: 'MODE',
    about: 'auto (default), process or vm; vm is refused where no VM driver works',
    allowed: ['auto', 'process', 'vm'],
  },
  reuse: {
    type: 'text',
    value: 'MODE',
    about: 'sequential: one invocation after the other (default); never: a fresh Instance each',
    allowed: ['sequential', 'never'],
  },
  snapshot: {
    type: 'text',
    value: 'MODE',
    about: 'microVMs start from: runtime (default); function: module-level code is in it; none',
    allowed: ['function', 'runtime', 'none'],
  },
  arch: { type: 'text', value: 'ARCH', about: 'default: that of the platform', allowed: ['x86_64', 'arm64'] },
  'init-timeout': { type: 'integer', value: 'S', about: 'time limit of a start (default: 10)' },
  'keep-alive': { type: 'integer', value: 'S', about: 'how long an idle Instance is kept (default: 600)' },
  'freeze-after': { type: 'integer', value: 'MS', about: 'idle time after which its CPUs stop (default: 100)' },
  layer: { type: 'list', value: 'NAME:N', about: 'layer below /opt, at most 5; later ones over earlier ones' },
  permission: {
    type: 'list',
    value: 'SCOPE',
    about: "scope of the function's own identity towards the platform, e.g. invoke:other",
  },
  description: { type: 'text', value: 'TEXT', about: 'what it is for' },
} as const satisfies Flags

/** How a deploy goes, for `create` and `update`. */
export const deployFlags = {
  build: {
    type: 'boolean',
    about:
      'build, also where it does not look necessary; by itself: source of Go and Rust, and packages that package.json or requirements.txt names and the folder does not hold',
  },
  'no-build': { type: 'boolean', about: 'deploy the folder as it is' },
  check: {
    type: 'boolean',
    about:
      'start the code once before it goes live; refuse it, with its error, when it does not load; by itself: a bootstrap, server, image, Go or Rust program that is new, or that an update replaces',
  },
  'no-check': { type: 'boolean', about: 'let it go live without that' },
  'no-wait': {
    type: 'boolean',
    about: 'return once the version is accepted; it is prepared afterwards, the one before serves until then',
  },
} as const satisfies Flags

/** Undefined where the folder is to decide. */
export function buildChoice(flags: { readonly build: boolean; readonly 'no-build': boolean }): boolean | undefined {
  return flags['no-build'] ? false : flags.build ? true : undefined
}

/** The same as query parameters of the API. */
export function deployQuery(flags: {
  readonly check: boolean
  readonly 'no-check': boolean
  readonly 'no-wait': boolean
}) {
  return {
    ...(flags['no-wait'] && { wait: 'false' as const }),
    ...(flags.check && { mustLoad: 'true' as const }),
    ...(flags['no-check'] && { mustLoad: 'false' as const }),
  }
}

type FunctionFlagValues = Input<Arguments, typeof functionFlags>['flags']

/** The declared fields in the API's names and units; what was not given is left out. */
export function declaredConfig(flags: FunctionFlagValues) {
  const fields = {
    contract: flags.contract,
    command: flags.command === undefined ? undefined : commandWords(flags.command),
    port: flags.port,
    instanceConcurrency: flags['instance-concurrency'],
    memoryMib: flags.memory,
    timeoutMs: inMs(flags.timeout),
    concurrency: flags.concurrency,
    ephemeralMib: flags.ephemeral,
    env: flags.env.length > 0 ? pairs('env', flags.env) : undefined,
    secrets: flags.secret.length > 0 ? pairs('secret', flags.secret) : undefined,
    network: flags.network,
    isolation: flags.isolation,
    reuse: flags.reuse,
    snapshot: flags.snapshot,
    arch: flags.arch,
    initTimeoutMs: inMs(flags['init-timeout']),
    keepAliveMs: inMs(flags['keep-alive']),
    freezeAfterMs: flags['freeze-after'],
    layers: flags.layer.length > 0 ? [...flags.layer] : undefined,
    permissions: flags.permission.length > 0 ? [...flags.permission] : undefined,
    description: flags.description,
  }
  return withoutUndefined(fields)
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> }

function withoutUndefined<T extends object>(fields: T): Defined<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Defined<T>
}

function inMs(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : seconds * 1_000
}

function pairs(flag: string, texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf('=')
      if (at < 1)
        throw new CliError(`Invalid --${flag} "${text}": must be ${flag === 'env' ? 'NAME=VALUE' : 'NAME=SECRET'}.`)
      const name = text.slice(0, at)
      // No JSON of the API may hold it.
      if (name === '__proto__') throw new CliError(`Invalid --${flag} "${text}": "__proto__" is no name to give.`)
      return [name, text.slice(at + 1)]
    }),
  )
}
