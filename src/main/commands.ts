import { defineCommand, type Command, type Flags } from '../cli/command.ts'
import { CliError } from '../cli/cli-error.ts'
import { exitCodeOf } from '../cli/exit-codes.ts'
import { AppError } from '../domain/error.ts'
import { configKeys, flagOf, type ConfigKey } from './config-keys.ts'

/* Commands about this machine. Everything they do is loaded when they run: the others start without it. */

const up = defineCommand({
  name: 'up',
  summary: 'Start the platform on this machine',
  notes: [
    'Control plane and agent in one process; everything is kept in the data folder. Started as root, it sandboxes functions fully and gives up its own privileges at once.',
    'Ctrl-C or SIGTERM lets running invocations end, then exits with 0; a second one exits at once. Settings also come from HEARTH_* variables and hearth.yaml: docs/reference/configuration.md.',
  ],
  args: {},
  flags: {
    config: {
      type: 'text',
      value: 'FILE',
      about: 'hearth.yaml to read; default: HEARTH_CONFIG, else the one in the current folder',
      completes: 'file',
    },
    ...configFlags(),
    'first-run': {
      type: 'boolean',
      about: 'deploy examples/process-image unless it is there, call it, and show its receipt',
    },
  },
  examples: [
    'hearth up',
    'hearth up --port 9000 --data /srv/hearth',
    'hearth up --port 0 --ready-file /run/hearth.json',
  ],
  async run({ env, cwd }, { flags }) {
    const { up: start } = await import('./up.ts')
    const file = flags.config ?? env['HEARTH_CONFIG']
    return asCliError(async () => start({ flags, env, cwd, file, isFirstRun: flags['first-run'] }))
  },
})

const doctor = defineCommand({
  name: 'doctor',
  summary: 'Show what this machine can enforce, what it cannot, and why',
  notes: [
    'Tries each driver as a platform would: a sandbox is made, a guest is booted. Exit code 9 when none works, or none that the settings found here demand.',
    "--fix installs what microVMs need first: Debian's QEMU by apt and a pinned Firecracker release, checked by its digest, both as root; a kernel and the images of the newest Node and Python.",
  ],
  args: {},
  flags: {
    fix: { type: 'boolean', about: 'install what is missing and can be installed' },
    mirror: {
      type: 'text',
      value: 'URL',
      about: "where --fix downloads Firecracker, below which v<version>/ lies (default: the project's own releases)",
    },
  },
  examples: ['hearth doctor', 'sudo hearth doctor --json', 'sudo hearth doctor --fix'],
  async run(context, { flags }) {
    const [{ doctor: examine }, { releaseMirror }] = await Promise.all([
      import('./doctor.ts'),
      import('../image/firecracker-release.ts'),
    ])
    return asCliError(async () => examine(context, { fix: flags.fix, mirror: flags.mirror ?? releaseMirror }))
  },
})

const runtimeInstall = defineCommand({
  name: 'runtime install',
  summary: 'Install a runtime for functions on this machine',
  notes: ['Node builds come from npm. Python comes from the machine: the message says how to get it.'],
  args: { runtime: { about: 'for example node22 or python3.12' } },
  flags: {},
  examples: ['hearth runtime install node22'],
  async run(context, { args }) {
    const { installRuntimeHere } = await import('./runtimes.ts')
    return asCliError(async () => installRuntimeHere(context, args.runtime))
  },
})

const cacheNote =
  'Kept in the cache of this machine: HEARTH_CACHE, else /var/cache/hearth for root and ~/.cache/hearth for others. What root builds serves every platform here.'

const kernelBuild = defineCommand({
  name: 'kernel build',
  summary: "Build the microVMs' kernel from Debian's source",
  notes: [
    'Takes 4 to 7 minutes on two cores, and 2.5 GiB while it lasts. The same source, configuration and compiler are built once. Profile prod, the default, has the mitigations that a kernel on KVM needs; ci leaves them out, which starts sooner where there is no KVM.',
    'Root builds as the user "hearth". Without a kernel built or given, microVMs boot Debian\'s, which takes a second longer.',
    cacheNote,
  ],
  args: {},
  flags: {
    profile: {
      type: 'text',
      value: 'ci|prod',
      allowed: ['ci', 'prod'],
      about: 'what the kernel is for (default: prod)',
    },
    'time-limit': { type: 'integer', value: 'SECONDS', min: 1, about: 'give up after this long (default: 3600)' },
  },
  examples: ['sudo hearth kernel build', 'hearth kernel build --profile ci --time-limit 540'],
  async run(context, { flags }) {
    const { buildKernelHere } = await import('./kernels.ts')
    const profile = flags.profile === 'ci' ? 'ci' : 'prod'
    return asCliError(async () => buildKernelHere(context, { profile, timeLimitS: flags['time-limit'] ?? 3600 }))
  },
})

const kernelUse = defineCommand({
  name: 'kernel use',
  summary: "Boot microVMs with a kernel of your own, or with Debian's",
  notes: [
    '"debian" takes Debian\'s cloud kernel, fetched but not installed. A file is an uncompressed vmlinux for x86-64 with a PVH entry, and with virtio-mmio and erofs built in. It is copied. Running microVMs keep theirs; a platform takes it up when it starts.',
    cacheNote,
  ],
  args: { file: { about: 'the vmlinux, or "debian"', completes: 'file' } },
  flags: {},
  examples: ['sudo hearth kernel use ./vmlinux', 'hearth kernel use debian'],
  async run(context, { args }) {
    const { useKernelHere } = await import('./kernels.ts')
    return asCliError(async () => useKernelHere(context, args.file))
  },
})

const imageList = defineCommand({
  name: 'image list',
  summary: "List the microVMs' kernels and images on this machine",
  notes: [cacheNote],
  args: {},
  flags: {},
  examples: ['hearth image list', 'hearth image list --json'],
  async run(context) {
    const { listImages } = await import('./image-commands.ts')
    return asCliError(async () => listImages(context))
  },
})

const imageBuild = defineCommand({
  name: 'image build',
  summary: "Build the root image of a runtime's microVMs",
  notes: [
    'A platform builds an image when it first needs it: build ahead to save that time. Only who can read the interpreter can build its image.',
    "Made of the interpreter that this machine has, its libraries, and Debian's basic programs. The same input gives the same image. What could not be had is named, and tried for again by the next build.",
    cacheNote,
  ],
  args: { runtime: { about: 'for example node24 or python3.12' } },
  flags: {},
  examples: ['hearth image build node24', 'sudo hearth image build python3.12'],
  async run(context, { args }) {
    const { buildImage } = await import('./image-commands.ts')
    return asCliError(async () => buildImage(context, args.runtime))
  },
})

const imagePrune = defineCommand({
  name: 'image prune',
  summary: 'Remove kernels and images that no runtime of this machine uses',
  notes: [
    'What a platform or a microVM of this machine has open stays until it ends. What a platform keeps in its data folder it cleans itself, at each start and when a function goes.',
    cacheNote,
  ],
  args: {},
  flags: {},
  examples: ['hearth image prune'],
  async run(context) {
    const { pruneImages } = await import('./image-commands.ts')
    return asCliError(async () => pruneImages(context))
  },
})

export const machineCommands: readonly Command[] = [
  up,
  doctor,
  runtimeInstall,
  kernelBuild,
  kernelUse,
  imageList,
  imageBuild,
  imagePrune,
]

/** Settings are checked by config.ts, wherever they come from: here every value is a text. */
function configFlags(): Flags {
  const entries = Object.entries(configKeys).map(([name, key]: [string, ConfigKey]): [string, Flags[string]] => {
    const about = `${key.about.slice(0, 1).toLowerCase()}${key.about.slice(1).replace(/\.$/, '')}${defaultNote(key)}`
    if (key.type === 'boolean') return [flagOf(name), { type: 'boolean', about }]
    if (key.type === 'list') return [flagOf(name), { type: 'list', value: key.value, about }]
    const value = key.type === 'integer' ? 'N' : key.type === 'choice' ? key.allowed.join('|') : key.value
    return [flagOf(name), { type: 'text', value, about, ...(key.type === 'path' && { completes: 'file' as const }) }]
  })
  return Object.fromEntries(entries)
}

function defaultNote(key: ConfigKey): string {
  const text = 'defaultText' in key ? key.defaultText : undefined
  const shown = text ?? key.default.toString()
  return key.type === 'boolean' || shown === ''
    ? ''
    : ` (default: ${shown}${key.type === 'integer' ? ` ${key.unit}` : ''})`
}

/** The machine's own failures, with the exit codes of the API's. What these commands make is for the platform's user and VMMs of other users to read, whatever
 *  the umask of who starts them; what is secret has a mode of its own. */
async function asCliError(work: () => Promise<number>): Promise<number> {
  process.umask(0o022)
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    const hint = error.detail === undefined ? {} : { hint: error.detail }
    throw new CliError(error.message, { exitCode: exitCodeOf(error.code), ...hint, cause: error })
  }
}
