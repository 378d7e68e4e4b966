import { spawn, spawnSync } from 'node:child_process'
import { accessSync, chownSync, constants, existsSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import path from 'node:path'
import { findPackageTools } from '../build/package-tools.ts'
import { findToolchains } from '../build/toolchains.ts'
import type { PackageTool, Toolchain } from '../domain/build.ts'
import { AppError } from '../domain/error.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'
import type { TlsPair } from '../http/server-settings.ts'
import { appRoot, guestProgram } from './app.ts'
import { readConfig, type Config, type ConfigSources } from './config.ts'
import { lockName, takeLock } from './lock.ts'
import { makeCacheFolder, makeServiceFolders } from './images.ts'
import { isFolder, makeFolder } from './make-folder.ts'
import { outermost } from './outermost.ts'
import { findRuntimes } from './runtimes.ts'
import { tlsVariables, type ServeOptions } from './serve-options.ts'
import { ensureServiceUser, type ServiceUser } from './service-user.ts'
import { readTlsFiles } from './tls.ts'
import { findVmmPrograms } from './vmm-programs.ts'

/* hearth up, first stage: all that may need root. It ends by becoming the launcher (`hearth-guest up`), which starts the second
 * stage, serve.ts, without any privilege. Nothing here parses what comes from a network or a function. */

export interface UpOptions extends ConfigSources {
  readonly isFirstRun: boolean
}

/** Does not return where there is a launcher: this process becomes it. Elsewhere resolves with the platform's exit code.
 *  Throws invalid (configuration), conflict (data folder in use), internal (sandbox program not built). */
export async function up(options: UpOptions): Promise<number> {
  const given = readConfig(options)
  // Before anything is made: what cannot serve must not leave half a data folder.
  const tls = readTlsFiles(given)
  checkReadyFile(given.readyFile)
  const user = process.getuid?.() === 0 ? ensureServiceUser() : null
  prepareFolder(given.data, user)
  const config = { ...given, cache: makeCacheFolder(given, options.env) }
  if (user !== null) makeServiceFolders(config, user)
  takeLock(config.data)
  const [runtimes, { toolchains, packageTools }] = await Promise.all([findRuntimes(options.env), toolsOf(options.env)])
  const vmms = findVmmPrograms(config, options.env)
  if (options.isFirstRun) startFirstRun(config)
  const serve = serveCommand({ config, user, runtimes, vmms, toolchains, packageTools })
  const env = childEnv(config, { user, tls })
  if (process.platform !== 'linux') return runPlain(serve, env)
  if (!existsSync(guestProgram))
    throw new AppError(
      'internal',
      'Cannot start: the sandbox program is not built. Run "npm run setup" in the application folder.',
    )
  const args = launcherArguments({ config, user, runtimes, vmms, toolchains, packageTools }, serve)
  return becomeLauncher(args, env)
}

/** V8 lets the space of young objects grow to three times 16 MiB, which a burst of calls or one deploy leaves behind; with 4 MiB the
 *  platform stays 20 MB smaller, for more and shorter collections. */
const youngSpace = '--max-semi-space-size=4'

/** glibc gives each thread a heap of its own, up to eight a core, and once a large block was freed it keeps as much as that: after
 *  an upload of 8 MB the platform stayed 30 MB larger. Source: mallopt(3). */
const mallocSettings = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '262144', MALLOC_TRIM_THRESHOLD_: '1048576' }

function serveCommand(options: ServeOptions): readonly string[] {
  const script = path.join(appRoot, 'src/main/serve.ts')
  return [process.execPath, '--disable-warning=ExperimentalWarning', youngSpace, script, JSON.stringify(options)]
}

/** What `hearth-guest` is started with, for COMMAND to be its platform. */
export function launcherArguments(
  { config, user, runtimes, vmms, toolchains, packageTools }: ServeOptions,
  command: readonly string[],
): string[] {
  const keep = [appRoot, config.data, config.cache, path.dirname(process.execPath)]
  for (const file of [config.readyFile, config.masterKeyFile, config.kernel])
    if (file !== '') keep.push(path.dirname(file))
  // What goes into root images; as a source it is shown to sandboxes in any case.
  keep.push(
    ...runtimes.map(({ family, prefix, executable }) => (family === 'node' || prefix === '' ? executable : prefix)),
  )
  return [
    'up',
    ...(user === null ? [] : ['--uid', String(user.uid), '--gid', String(user.gid)]),
    ...['--state', config.data],
    ...outermost(keep).flatMap((folder) => ['--keep', folder]),
    ...runtimeFolders(runtimes, [...toolchains, ...packageTools]).flatMap((folder) => ['--source', folder]),
    ...(config.readyFile === '' ? [] : ['--ready', config.readyFile]),
    ...[config.tlsCert, config.tlsKey].flatMap((file) => (file === '' ? [] : ['--readable', file])),
    ...Object.values(vmms).flatMap((program) => (program === '' ? [] : ['--vmm', program])),
    '--',
    ...command,
  ]
}

function becomeLauncher(args: readonly string[], env: NodeJS.ProcessEnv): never {
  process.chdir(appRoot)
  process.execve?.(guestProgram, [guestProgram, ...args], env)
  throw new AppError(
    'internal',
    'Cannot become the launcher: this Node has no process.execve. Run "npm run setup", which installs one that has.',
  )
}

/** Run as root it also sees those in root's home, as for interpreters. */
async function toolsOf(
  env: ConfigSources['env'],
): Promise<{ toolchains: readonly Toolchain[]; packageTools: readonly PackageTool[] }> {
  const folders = (env['PATH'] ?? '').split(path.delimiter).filter((folder) => path.isAbsolute(folder))
  const places = { path: folders, home: env['HOME'] ?? '/nonexistent' }
  const [toolchains, packageTools] = await Promise.all([
    findToolchains({ ...places, rustupHome: env['RUSTUP_HOME'] }),
    findPackageTools(places),
  ])
  return { toolchains, packageTools }
}

/** What the launcher may show to sandboxes besides the kept folders: a platform that was broken into cannot ask for more. */
function runtimeFolders(runtimes: readonly RuntimeBuild[], tools: readonly { folder: string }[]): readonly string[] {
  const folders = runtimes.flatMap(({ prefix, executable }) =>
    prefix === '' ? [path.dirname(executable)] : [prefix, path.dirname(executable)],
  )
  return outermost(['/usr', ...folders, ...tools.map(({ folder }) => folder)])
}

/** No launcher on this system: the platform is a plain child, and so are its functions. */
async function runPlain(serve: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const [program = '', ...args] = serve
  const child = spawn(program, args, { stdio: 'inherit', env })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
  return new Promise((resolve) => child.once('exit', (code) => resolve(code ?? 9)))
}

/** The settings are read already; a stray one must not reach the second stage. */
function childEnv(config: Config, { user, tls }: { user: ServiceUser | null; tls: TlsPair | null }): NodeJS.ProcessEnv {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('HEARTH_')))
  const pems = tls === null ? {} : { [tlsVariables.cert]: tls.cert, [tlsVariables.key]: tls.key }
  return { ...env, ...pems, ...mallocSettings, NODE_COMPILE_CACHE: compileCache(config, user) }
}

/** Compiled modules, kept for all data folders of this application: without them a start takes twice as long and 40 MB more.
 *  Root never reads what the service user writes there. */
function compileCache(config: Config, user: ServiceUser | null): string {
  const folder = path.join(appRoot, 'build', user === null ? 'compile-cache' : 'compile-cache-service')
  try {
    mkdirSync(folder, { recursive: true })
    if (user !== null) chownSync(folder, user.uid, user.gid)
    accessSync(folder, constants.W_OK)
    return folder
  } catch {
    return path.join(config.data, 'cache/compile')
  }
}

/** Makes the data folder, or takes over one that a platform of another user made. Never a folder of anything else: its owner changes here. */
function prepareFolder(folder: string, user: ServiceUser | null): void {
  try {
    makeFolder(folder)
    accessSync(folder, constants.R_OK | constants.W_OK)
    const names = readdirSync(folder)
    if (names.length > 0 && !names.some((name) => ownNames.includes(name)))
      throw new AppError(
        'invalid',
        `Cannot use ${folder} as the data folder: it holds other things (${names.slice(0, 3).join(', ')}). Name an empty or a new one.`,
        { field: 'data' },
      )
    if (user !== null && statSync(folder).uid !== user.uid) changeOwner(folder, user)
  } catch (cause) {
    if (cause instanceof AppError) throw cause
    throw new AppError(
      'invalid',
      `Cannot use the data folder ${JSON.stringify(folder)}: ${(cause as Error).message}. Name another one with --data.`,
      {
        field: 'data',
        cause,
      },
    )
  }
}

/** The launcher opens its folder before it gives up its privileges, and has no words of its own for a flag. */
function checkReadyFile(file: string): void {
  const say = (what: string): AppError =>
    new AppError('invalid', `Cannot write --ready-file ${JSON.stringify(file)}: ${what}.`, { field: 'readyFile' })
  if (file === '') return
  if (!isFolder(path.dirname(file))) throw say('its folder is not there; make it first')
  if (isFolder(file)) throw say('that is a folder')
}

/** Any of these marks a folder as a platform's. */
const ownNames: readonly string[] = ['hearth.db', 'master.key', lockName]

function changeOwner(folder: string, { uid, gid }: ServiceUser): void {
  const { status, stderr } = spawnSync('chown', ['-R', '-h', `${uid}:${gid}`, folder], { encoding: 'utf8' })
  if (status !== 0)
    throw new AppError('internal', `Cannot give the data folder ${folder} to uid ${uid}.`, { detail: stderr })
}

/** The guided first deploy runs as who typed the command, outside the launcher's tree. */
function startFirstRun(config: Config): void {
  const script = path.join(appRoot, 'src/main/first-run.ts')
  const args = ['--disable-warning=ExperimentalWarning', script, config.data, String(process.pid)]
  // A shell in between ends at once, and with it is reaped: this process, soon the launcher, has no child that it does not know.
  spawnSync('/bin/sh', ['-c', '"$0" "$@" &', process.execPath, ...args], { stdio: 'inherit', cwd: process.cwd() })
}
