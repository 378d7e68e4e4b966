import { execFile } from 'node:child_process'
import { chownSync, existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import type { Context } from '../cli/context.ts'
import { fieldList, table } from '../cli/output.ts'
import { findServer } from '../cli/server.ts'
import type { EnforcedFeature, VmmFacts } from '../domain/driver.ts'
import { AppError, toAppError } from '../domain/error.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'
import { appRoot, appVersion, guestProgram } from './app.ts'
import { configKeys } from './config-keys.ts'
import { readConfig, type Config } from './config.ts'
import { cacheFolder, makeServiceFolders } from './images.ts'
import { fixMachine, type Fix } from './doctor-fix.ts'
import { emulationRefusal, refuseLess } from './isolation.ts'
import { findRuntimes } from './runtimes.ts'
import { findServiceUser } from './service-user.ts'
import { launcherArguments } from './up.ts'
import { missingVmms } from './vm-drivers.ts'
import { findVmmPrograms } from './vmm-programs.ts'

interface DriverFinding {
  readonly name: string
  readonly works: boolean
  readonly detail: string
  readonly fix?: string
  readonly isVm?: boolean
  /** `tcg`: emulated, which is no security boundary. */
  readonly accelerator?: VmmFacts['accelerator'] | null
  readonly enforced: readonly EnforcedFeature[]
}

interface Findings {
  /** Why a platform with the settings found here does not start; null when it does. */
  readonly refusal: string | null
  readonly machine: Readonly<Record<string, string>>
  readonly drivers: readonly DriverFinding[]
  readonly runtimes: readonly RuntimeBuild[]
  readonly platform: { readonly url: string; readonly data: string | null } | null
  readonly port: { readonly port: number; readonly isFree: boolean }
  /** What was installed; only with --fix. */
  readonly fixes?: readonly Fix[]
}

/** What to do about a feature that is not enforced. Most need root, or a kernel that has them. */
const fixes: Readonly<Record<string, string>> = {
  memory_limit: 'start as root, or delegate the memory controller of a cgroup to the user',
  cpu_share: 'start as root, or delegate the cpu controller of a cgroup to the user',
  pids_limit: 'start as root, or delegate the pids controller of a cgroup to the user',
  freezer: 'start as root, or delegate a cgroup to the user',
  own_uid: 'start as root: only root can give each Instance a uid of its own',
  net_ns: 'start as root, or allow user namespaces (kernel.unprivileged_userns_clone=1)',
  egress: 'start as root, with nftables and iproute2 installed',
  landlock: 'a kernel from 5.13 on with landlock in its lsm= list; the mount namespace holds without it',
  seccomp: 'a kernel with CONFIG_SECCOMP_FILTER',
}

/** Guests are booted, and the first time their kernel and image are made. */
const probeMsMax = 180_000

/** `hearth doctor`: tries what the platform would do on this machine and says what holds, what does not, why, and what helps.
 *  With `fix` it installs first what can be, Firecracker from `mirror`. */
export async function doctor(context: Context, { fix, mirror }: { fix: boolean; mirror: string }): Promise<number> {
  const { output } = context
  const fixes = fix ? await fixMachine(context, { runtimes: await findRuntimes(context.env), mirror }) : []
  output.status('trying a sandbox ...')
  const findings = { ...(await examine(context).finally(() => output.status(''))), ...(fix && { fixes }) }
  if (output.isJson) output.json(findings)
  else print(findings, context)
  return findings.refusal === null && findings.drivers.some(({ works }) => works) ? 0 : 9
}

async function examine({ env, cwd, interrupt }: Context): Promise<Findings> {
  const port = Number(env['HEARTH_PORT'] ?? configKeys.port.default)
  const runtimes = await findRuntimes(env)
  const [drivers, isFree, platform] = await Promise.all([
    probeDrivers({ env, cwd, runtimes, signal: interrupt() }),
    isPortFree(port),
    findServer({ env, cwd, root: appRoot, url: undefined, apiKey: undefined }).then(
      ({ url, data }) => ({ url, data }),
      () => null,
    ),
  ])
  const refusal = refusalOf(readConfig({ flags: {}, env, cwd, file: env['HEARTH_CONFIG'] }), drivers)
  return { machine: machineFacts(), refusal, drivers, runtimes, platform, port: { port, isFree } }
}

function machineFacts(): Record<string, string> {
  return {
    hearth: appVersion,
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    cpus: String(os.availableParallelism()),
    memory: `${Math.round(os.totalmem() / 2 ** 20)} MiB`,
    node: `${process.version} (${process.execPath})`,
    user:
      process.getuid?.() === 0
        ? 'root (the platform itself runs without privileges)'
        : `${os.userInfo().username} (not root)`,
  }
}

/** Whether what works is enough for what the operator demands. */
function refusalOf(config: Config, drivers: readonly DriverFinding[]): string | null {
  const emulation = emulationRefusal(config)
  const counted = drivers.map(({ name, isVm = true, works, detail, accelerator }) =>
    accelerator === 'tcg' && emulation !== null
      ? { name, isVm, works: false, detail: `emulated: ${emulation}.` }
      : { name, isVm, works, detail },
  )
  try {
    refuseLess(config, { drivers: counted, lost: [] })
    return null
  } catch (error) {
    return toAppError(error).message
  }
}

/** Under a launcher of its own, in a folder of its own: a running platform is not touched. */
async function probeDrivers(
  of: Pick<Context, 'env' | 'cwd'> & { runtimes: readonly RuntimeBuild[]; signal: AbortSignal },
): Promise<DriverFinding[]> {
  if (process.platform !== 'linux') {
    const detail = `No isolation on ${process.platform}: functions run as plain processes.`
    return [{ name: 'process', isVm: false, works: true, detail, enforced: [] }]
  }
  if (!existsSync(guestProgram)) {
    const detail = 'The sandbox program is not built.'
    return [{ name: 'process', isVm: false, works: false, detail, fix: 'npm run setup', enforced: [] }]
  }
  const data = await mkdtemp(path.join(os.tmpdir(), 'hearth-doctor-'))
  try {
    return [...(await probeIn(data, of)), ...absentDrivers(of)]
  } catch (error) {
    if (of.signal.aborted) throw new AppError('driver_failed', 'The machine was not looked at: interrupted.')
    const text =
      error instanceof Error && 'stderr' in error && error.stderr !== '' ? String(error.stderr).trim() : String(error)
    const fix = 'the message names the step that failed'
    return [{ name: 'process', isVm: false, works: false, detail: text, fix, enforced: [] }]
  } finally {
    await rm(data, { recursive: true, force: true })
  }
}

async function probeIn(
  data: string,
  { env, cwd, runtimes, signal }: Parameters<typeof probeDrivers>[0],
): Promise<DriverFinding[]> {
  const given = readConfig({ flags: { data, driver: 'auto' }, env, cwd, file: env['HEARTH_CONFIG'] })
  // Everything that could be is tried; what the settings make of it is told apart.
  const all = { isolation: 'any', emulation: 'allow' } as const
  const config = { ...given, ...all, readyFile: '', tlsCert: '', tlsKey: '', cache: cacheFolder(given.cache, env) }
  await mkdir(config.cache, { recursive: true, mode: 0o755 })
  const user = process.getuid?.() === 0 ? findServiceUser() : null
  if (user !== null) chownSync(data, user.uid, user.gid)
  if (user !== null) makeServiceFolders(config, user)
  const options = { config, user, runtimes, toolchains: [], packageTools: [], vmms: findVmmPrograms(config, env) }
  const script = path.join(appRoot, 'src/main/doctor-probe.ts')
  const command = [process.execPath, '--disable-warning=ExperimentalWarning', script, JSON.stringify(options)]
  const args = launcherArguments(options, command)
  signal.throwIfAborted()
  const running = promisify(execFile)(guestProgram, args, { cwd: appRoot, timeout: probeMsMax })
  // It clears away what it made, and is waited for.
  signal.addEventListener('abort', () => running.child.kill('SIGTERM'), { once: true })
  const { stdout } = await running
  const findings: DriverFinding[] = JSON.parse(stdout)
  // It runs what asks for it, and is no boundary.
  const fix =
    'a machine with KVM, or nested virtualisation: emulated it is no security boundary, and auto never takes it'
  return findings.map((finding) => (finding.accelerator === 'tcg' ? { ...finding, fix } : finding))
}

/** What cannot even be tried, and why. */
function absentDrivers({ env, cwd }: Pick<Context, 'env' | 'cwd'>): DriverFinding[] {
  const vmms = findVmmPrograms(readConfig({ flags: {}, env, cwd, file: env['HEARTH_CONFIG'] }), env)
  return missingVmms(vmms).map((missing) => ({ ...missing, works: false, enforced: [] }))
}

async function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

function print(findings: Findings, { output }: Context): void {
  const { machine, refusal, drivers, runtimes, platform, port, fixes: installed = [] } = findings
  for (const { what, isThere, detail, hint } of installed) {
    output.line(`${isThere ? output.paint('green', 'ok') : output.paint('yellow', 'no')}  ${what}: ${detail}`)
    if (hint !== undefined) output.line(`    ${hint}`)
  }
  if (installed.length > 0) output.line()
  const mark = (holds: boolean): string => (holds ? output.paint('green', 'yes') : output.paint('yellow', 'no'))
  output.line(fieldList(Object.entries(machine)))
  for (const { name, works, detail, fix, enforced } of drivers) {
    output.line(
      `\ndriver ${name}: ${works ? output.paint('green', 'works') : output.paint('yellow', 'does not work')}. ${detail}`,
    )
    if (fix !== undefined) output.line(`  fix: ${fix}`)
    if (enforced.length === 0) continue
    const rows = enforced.map((each) => [
      each.feature,
      mark(each.enforced),
      // The first sentence names the cause; the rest repeats it for each controller, and --json has all of it.
      each.detail.replace(/\. .*$/s, '.'),
      each.enforced ? '' : (fixes[each.feature] ?? 'start as root'),
    ])
    output.line(table(['FEATURE', 'ENFORCED', 'WHY', 'FIX'], rows))
  }
  output.line()
  if (refusal !== null) output.line(`${output.paint('red', refusal)}\n`)
  if (runtimes.length === 0) output.line('No runtime found: install Node or Python.')
  else
    output.line(
      table(
        ['RUNTIME', 'VERSION', 'INTERPRETER'],
        runtimes.map(({ id, version, executable }) => [id, version, executable]),
      ),
    )
  output.line()
  if (platform !== null)
    output.line(`A platform runs at ${platform.url}${platform.data === null ? '' : ` on ${platform.data}`}.`)
  else
    output.line(
      `No platform runs here. Port ${port.port} is ${port.isFree ? 'free' : 'taken: choose another with --port'}.`,
    )
}
