import { limits } from '../domain/limits.ts'

/** One setting of the platform: flag, environment variable and hearth.yaml key share its name, in their own spelling. */
export type ConfigKey = {
  /** One sentence. */
  readonly about: string
  /** Left out of the sample file: makes sense for one start only. */
  readonly isPerStart?: true
} & (
  | {
      readonly type: 'integer'
      readonly unit: string
      readonly default: number
      readonly min: number
      readonly max: number
      /** Shown in place of the default, when that depends on the machine. */
      readonly defaultText?: string
    }
  | { readonly type: 'boolean'; readonly default: boolean }
  | { readonly type: 'choice'; readonly default: string; readonly allowed: readonly string[] }
  /** The flag may be given several times; in the environment, commas between. */
  | { readonly type: 'list'; readonly default: readonly string[]; readonly value: string }
  | { readonly type: 'text'; readonly default: string; readonly value: string; readonly defaultText?: string }
  /** Relative paths are taken from the current folder; in hearth.yaml, from the file's own. Empty = not set. */
  | { readonly type: 'path'; readonly default: string; readonly value: string; readonly defaultText?: string }
)

export const configKeys = {
  port: {
    type: 'integer',
    unit: 'port',
    default: 8080,
    min: 0,
    max: 65_535,
    about: 'Port to listen on; 0 takes a free one.',
  },
  urlPort: {
    type: 'integer',
    unit: 'port',
    default: -1,
    min: -1,
    max: 65_535,
    defaultText: '-1 = the one after port, or a free one',
    about: 'Port that URLs of functions are served on, apart from the API; 0 takes a free one.',
  },
  urlDomain: {
    type: 'text',
    value: 'DOMAIN',
    default: '',
    defaultText: 'localhost',
    about: 'Domain whose names *.DOMAIN lead here: a function answers at NAME.DOMAIN, besides NAME.localhost.',
  },
  urlRegion: {
    type: 'text',
    value: 'REGION',
    default: 'us-east-1',
    about: 'AWS region that requests to URLs with auth aws_iam are signed for.',
  },
  host: {
    type: 'text',
    value: 'ADDRESS',
    default: '127.0.0.1',
    about: 'Address to listen on; other machines reach one that is not loopback, so it needs TLS or insecureListen.',
  },
  data: { type: 'path', value: 'DIR', default: '.hearth', about: 'Folder that holds everything the platform keeps.' },
  driver: {
    type: 'choice',
    default: 'auto',
    allowed: ['auto', 'process', 'firecracker', 'qemu'],
    about: 'How Instances are isolated; auto takes the strongest that works here and says what is lost.',
  },
  isolation: {
    type: 'choice',
    default: 'any',
    allowed: ['any', 'vm'],
    about:
      'What functions may be isolated by; vm demands a microVM for each Instance: those that ask for a process are refused, and without a driver that makes microVMs the platform does not start.',
  },
  multiTenant: {
    type: 'boolean',
    default: false,
    about:
      'The functions here belong to people who do not trust one another: emulated machines (QEMU without KVM), which are no boundary between them, run none unless emulation is allow, and s3Endpoint is asked with a secret of the project alone.',
  },
  emulation: {
    type: 'choice',
    default: 'auto',
    allowed: ['auto', 'allow', 'refuse'],
    about:
      'Whether emulated machines, which are no security boundary, count as microVMs; auto: for functions that ask for isolation vm, but not with multiTenant or where isolation vm is demanded of all.',
  },
  qemu: {
    type: 'path',
    value: 'FILE',
    default: '',
    defaultText: 'qemu-system-* on the PATH',
    about: 'The QEMU program to run microVMs on.',
  },
  firecracker: {
    type: 'path',
    value: 'FILE',
    default: '',
    defaultText: 'firecracker on the PATH',
    about: 'The Firecracker program to run microVMs on.',
  },
  jailer: {
    type: 'path',
    value: 'FILE',
    default: '',
    defaultText: 'jailer on the PATH',
    about: "Firecracker's jailer; it is started as root, so root must own it.",
  },
  readyFile: {
    type: 'path',
    value: 'FILE',
    default: '',
    isPerStart: true,
    about:
      'File that appears, by rename, once requests are served: {"url", "urlsUrl", "apiKeyFile", "pid", "version"}.',
  },
  tlsCert: {
    type: 'path',
    value: 'FILE',
    default: '',
    about: 'Certificate chain (PEM) to serve HTTPS with, the API and URLs; SIGHUP reads it again.',
  },
  tlsKey: { type: 'path', value: 'FILE', default: '', about: 'Private key (PEM) of tlsCert, without a passphrase.' },
  insecureListen: {
    type: 'boolean',
    default: false,
    about: 'Allow an address that is not loopback without TLS: keys and payloads then cross the network readable.',
  },
  memoryMib: {
    type: 'integer',
    unit: 'MiB',
    default: 0,
    min: 0,
    max: 16_777_216,
    defaultText: '0 = three quarters of the machine',
    about: 'Memory that all Instances may hold together, by their declared limits.',
  },
  streamReplyMib: {
    type: 'integer',
    unit: 'MiB',
    ...limits.streamMib,
    about: 'Longest reply that is passed on as it comes; one that comes whole has at most 6 MiB.',
  },
  streamRequestMib: {
    type: 'integer',
    unit: 'MiB',
    ...limits.streamMib,
    about:
      'Longest request body that a function with contract http gets as it comes; any other gets at most 6 MiB, whole.',
  },
  poolSize: {
    type: 'integer',
    unit: 'Instances',
    default: 2,
    min: 0,
    max: 64,
    about: 'Booted Instances without code kept ready per runtime in use; 0 boots each on demand.',
  },
  vmPoolSize: {
    type: 'integer',
    unit: 'Instances',
    default: 1,
    min: 0,
    max: 64,
    about: 'The same for microVMs, restored and paused, per runtime and size of memory; each holds 60 to 90 MiB.',
  },
  vmFunctionPoolSize: {
    type: 'integer',
    unit: 'Instances',
    default: 0,
    min: 0,
    max: 64,
    about: 'Clones of each function snapshot kept restored and paused, for 10 minutes after its last start.',
  },
  vmPrespawn: {
    type: 'integer',
    unit: 'VMMs',
    default: 1,
    min: 0,
    max: 64,
    about:
      'VMMs started ahead for each snapshot, for 10 minutes after its last start: 16 MiB each, at most an eighth of memoryMib; 0 starts each on demand.',
  },
  drainMs: {
    type: 'integer',
    unit: 'ms',
    default: 20_000,
    min: 0,
    max: 3_600_000,
    about:
      'How long SIGTERM waits for running invocations before it ends them. Programs then have 2 s to end by themselves, servers 10 s.',
  },
  s3Endpoint: {
    type: 'text',
    value: 'URL',
    default: '',
    defaultText: "the platform's own buckets",
    about: 'S3 server that s3:// addresses go to: those of code, and those of hearth storage.',
  },
  s3Region: {
    type: 'text',
    value: 'REGION',
    default: 'us-east-1',
    about: 'Region that requests to it are signed for.',
  },
  s3Secret: {
    type: 'text',
    value: 'SECRET',
    default: '',
    defaultText: "the platform's own credentials: environment, ~/.aws, instance role",
    about: 'Name of the secret, of the project that asks, that holds accessKeyId:secretAccessKey for it.',
  },
  allowPrivateSources: {
    type: 'boolean',
    default: false,
    about:
      'Fetch code and images that callers name by https, or from an S3 endpoint of theirs, from private, loopback and link-local addresses too.',
  },
  insecureRegistry: {
    type: 'list',
    value: 'HOST:PORT',
    default: [],
    about:
      'Registry of images that is asked by plain http, wherever it is: credentials and images then cross the network readable.',
  },
  sourceRetryMs: {
    type: 'integer',
    unit: 'ms',
    default: 30_000,
    min: 0,
    max: 200_000,
    about: 'How long a source of code that does not answer is tried again.',
  },
  kernel: {
    type: 'path',
    value: 'FILE',
    default: '',
    defaultText: 'the one built or given last by "hearth kernel", else Debian\'s',
    about: 'Kernel of microVMs: an uncompressed vmlinux.',
  },
  cache: {
    type: 'path',
    value: 'DIR',
    default: '',
    defaultText: '/var/cache/hearth for root, else ~/.cache/hearth',
    about: 'Folder with kernels, runtime images and compiled standard libraries for all data folders of this machine.',
  },
  masterKeyFile: {
    type: 'path',
    value: 'FILE',
    default: '',
    defaultText: '<data>/master.key',
    about:
      'Key file (0600, of the user the platform runs as) that secrets and API keys hang on; made at the first start.',
  },
  logLevel: {
    type: 'choice',
    default: 'info',
    allowed: ['debug', 'info', 'warn', 'error'],
    about: "Least important lines of the platform's own log that are written, to stderr.",
  },
  logFormat: {
    type: 'choice',
    default: 'auto',
    allowed: ['auto', 'json', 'text'],
    about: 'Form of those lines; auto is text on a terminal and JSON elsewhere.',
  },
} as const satisfies Readonly<Record<string, ConfigKey>>

export type ConfigName = keyof typeof configKeys

/** `readyFile` -> `ready-file`. */
export function flagOf(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

/** `readyFile` -> `HEARTH_READY_FILE`. */
export function envOf(name: string): string {
  return `HEARTH_${flagOf(name).replaceAll('-', '_').toUpperCase()}`
}
