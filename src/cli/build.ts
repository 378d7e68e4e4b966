import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { access, copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { CliError } from './cli-error.ts'
import { listCodeFiles } from './code-files.ts'
import { exitCodes } from './exit-codes.ts'

/** A runtime as `/v1/runtimes` lists it. */
export interface RuntimeFact {
  readonly id: string
  readonly family: string
  readonly version: string
  readonly executable: string
}

export interface BuildOptions {
  readonly folder: string
  /** As the user named it: `python`, `node24`. */
  readonly runtime: string
  readonly runtimes: readonly RuntimeFact[]
  readonly env: Readonly<Record<string, string | undefined>>
  readonly status: (text: string) => void
}

/** A copy of `folder` with its declared packages beside the code: requirements.txt through pip, package.json through npm.
 *  Runs on this machine. The caller removes the copy. Throws CliError with the tool's own output. */
export async function buildFolder(options: BuildOptions): Promise<{ folder: string; dispose(): Promise<void> }> {
  const files = await listCodeFiles(options.folder)
  const names = new Set(files.map(({ name }) => name))
  const copy = await mkdtemp(path.join(os.tmpdir(), 'hearth-build-'))
  const dispose = async (): Promise<void> => rm(copy, { recursive: true, force: true })
  try {
    for (const { name, source } of files) {
      await mkdir(path.dirname(path.join(copy, name)), { recursive: true })
      await copyFile(source, path.join(copy, name))
    }
    const isPython = options.runtime.startsWith('python')
    if (isPython && names.has('requirements.txt')) await pipInstall(copy, options)
    else if (!isPython && names.has('package.json')) await npmInstall(copy, names, options)
    else
      throw new CliError(
        `Nothing to build in ${options.folder}: no ${isPython ? 'requirements.txt' : 'package.json'}.`,
        {
          hint: 'Leave --build out, or add the file.',
        },
      )
    return { folder: copy, dispose }
  } catch (error) {
    await dispose()
    throw error
  }
}

async function pipInstall(folder: string, options: BuildOptions): Promise<void> {
  const python = await findPython(options)
  const hasPip = (await runTool(python, ['-m', 'pip', '--version'], { folder, env: options.env })).code === 0
  if (!hasPip)
    throw new CliError(`Cannot build: ${python} has no pip.`, {
      exitCode: exitCodes.internal,
      hint: 'On Debian: apt-get install python3-pip; elsewhere: python -m ensurepip.',
    })
  const quiet = ['--quiet', '--no-input', '--disable-pip-version-check', '--no-compile', '--root-user-action=ignore']
  await step('pip', python, ['-m', 'pip', 'install', ...quiet, '--target', folder, '-r', 'requirements.txt'], {
    ...options,
    folder,
  })
}

/** The very interpreter that the function will run on, when it is on this machine; else one of the same version. */
async function findPython({ runtime, runtimes, env }: BuildOptions): Promise<string> {
  const wanted = newest(
    runtimes.filter(({ id, family }) => id === runtime || (runtime === 'python' && family === 'python')),
  )
  if (wanted === undefined)
    throw new CliError(`Cannot build for ${runtime}: the platform has no such runtime.`, {
      hint: 'hearth runtime list shows what it has.',
    })
  if (await isExecutable(wanted.executable)) return wanted.executable
  const name = `python${wanted.version.split('.').slice(0, 2).join('.')}`
  for (const folder of (env['PATH'] ?? '').split(path.delimiter))
    if (await isExecutable(path.join(folder, name))) return path.join(folder, name)
  throw new CliError(`Cannot build for ${runtime}: ${name} is not on this machine.`, {
    exitCode: exitCodes.internal,
    hint: `Install ${name}, or build elsewhere and pass the folder without --build.`,
  })
}

function newest(runtimes: readonly RuntimeFact[]): RuntimeFact | undefined {
  return [...runtimes].sort((a, b) => b.version.localeCompare(a.version, 'en', { numeric: true }))[0]
}

async function npmInstall(folder: string, names: ReadonlySet<string>, options: BuildOptions): Promise<void> {
  const command = names.has('package-lock.json') ? 'ci' : 'install'
  const flags = ['--omit=dev', '--no-audit', '--no-fund', '--loglevel=error']
  await step('npm', 'npm', [command, ...flags], { ...options, folder })
}

async function step(
  title: string,
  program: string,
  args: readonly string[],
  { folder, env, status }: { folder: string } & Pick<BuildOptions, 'env' | 'status'>,
): Promise<void> {
  const startedAt = performance.now()
  const show = (): void => status(`building: ${title} (${Math.round((performance.now() - startedAt) / 1000)} s)`)
  show()
  const timer = setInterval(show, 1_000)
  const { code, text } = await runTool(program, args, { folder, env }).finally(() => {
    clearInterval(timer)
    status('')
  })
  if (code !== 0)
    throw new CliError(`Cannot build: ${title} ended with ${code}.\n${text.trimEnd()}`, { exitCode: exitCodes.failed })
}

async function runTool(
  program: string,
  args: readonly string[],
  { folder, env }: { folder: string; env: BuildOptions['env'] },
): Promise<{ code: number | string; text: string }> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd: folder, env: withoutKeys(env), stdio: ['ignore', 'pipe', 'pipe'] })
    let text = ''
    child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()))
    child.on('error', (error) => resolve({ code: 'an error', text: error.message }))
    child.on('close', (code, signal) => resolve({ code: code ?? signal ?? 'a signal', text }))
  })
}

/** Install scripts of packages are strangers: they get no key of the platform. */
function withoutKeys(env: BuildOptions['env']): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('HEARTH_')))
}

async function isExecutable(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  )
}
