import { realpathSync, statSync } from 'node:fs'
import path from 'node:path'
import { ArgumentError, checkId, parseArguments, type Argument } from './arguments.ts'

/** All that the real one has; `--help` and `--version` are seen to by the parser. Source: Firecracker docs/jailer. */
const known: readonly Argument[] = [
  { name: 'id', kind: 'value', isRequired: true },
  { name: 'exec-file', kind: 'value', isRequired: true },
  { name: 'uid', kind: 'value', isRequired: true },
  { name: 'gid', kind: 'value', isRequired: true },
  { name: 'chroot-base-dir', kind: 'value', initial: '/srv/jailer' },
  { name: 'netns', kind: 'value' },
  { name: 'daemonize', kind: 'flag' },
  { name: 'new-pid-ns', kind: 'flag' },
  { name: 'cgroup', kind: 'values' },
  { name: 'resource-limit', kind: 'values' },
  { name: 'cgroup-version', kind: 'value', initial: '1' },
  { name: 'parent-cgroup', kind: 'value' },
]
/** Files that a process may have open when nothing else is said. */
const openFilesMax = 2_048

export interface Jail {
  readonly id: string
  readonly execFile: string
  readonly execName: string
  readonly uid: number
  readonly gid: number
  /** `<base>/<exec name>/<id>/root`. */
  readonly root: string
  readonly netns: string | null
  readonly isDaemon: boolean
  readonly hasPidNamespace: boolean
  readonly openFilesMax: number
  readonly fileBytesMax: number | null
  readonly cgroups: {
    readonly version: '1' | '2'
    /** Below the hierarchy; null: named as the program. */
    readonly parent: string | null
    readonly values: readonly { readonly file: string; readonly value: string }[]
  }
  /** For the jailed program. */
  readonly extra: readonly string[]
}

/** Null for `--version` and `--help`. Throws ArgumentError where the real one refuses, or would do what this one cannot. */
export function parseJail(argv: readonly string[]): Jail | null {
  const args = parseArguments(argv, known)
  if (args.has('version') || args.has('help')) return null
  const value = (name: string): string => args.value(name) ?? ''
  const id = checkId(value('id'))
  const execFile = canonical(value('exec-file'))
  if (!statSync(execFile).isFile()) throw new ArgumentError(`${execFile} is not a file`)
  const base = canonical(value('chroot-base-dir'))
  if (!statSync(base).isDirectory()) throw new ArgumentError(`${base} is not a directory`)
  const execName = path.basename(execFile)
  return {
    ...{ id, execFile, execName, root: path.join(base, execName, id, 'root') },
    ...{ uid: number32(value('uid'), 'uid'), gid: number32(value('gid'), 'gid') },
    ...{ netns: args.value('netns'), isDaemon: args.has('daemonize'), hasPidNamespace: args.has('new-pid-ns') },
    ...limits(args.values('resource-limit')),
    cgroups: cgroups(args.values('cgroup'), value('cgroup-version'), args.value('parent-cgroup')),
    extra: args.extra,
  }
}

function limits(given: readonly string[]): Pick<Jail, 'openFilesMax' | 'fileBytesMax'> {
  const found = { openFilesMax, fileBytesMax: null as number | null }
  for (const word of given) {
    const [name = '', ...rest] = word.split('=')
    if (rest.length === 0) throw new ArgumentError(`Invalid format for resources limits: ${word}`)
    const value = rest.join('=')
    if (!/^\d+$/.test(value))
      throw new ArgumentError(`Invalid limit value for resource: ${value}: invalid digit found in string`)
    if (name === 'fsize') found.fileBytesMax = Number(value)
    else if (name === 'no-file') found.openFilesMax = Number(value)
    else throw new ArgumentError(`Invalid resource argument: ${name}`)
  }
  return found
}

function cgroups(given: readonly string[], version: string, parent: string | null): Jail['cgroups'] {
  if (version !== '1' && version !== '2') throw new ArgumentError(`${version} is an invalid cgroup version specifier`)
  if (parent !== null && isOutside(parent))
    throw new ArgumentError("Parent cgroup path is invalid. Path should not be absolute or contain '..' or '.'")
  const values = given.map((word) => {
    const [file = '', value = '', ...rest] = word.split('=')
    if (value === '' || rest.length > 0) throw new ArgumentError(`Invalid format for cgroups: ${word}`)
    if (isOutside(file)) throw new ArgumentError(`Cgroup invalid file: ${word}`)
    return { file, value }
  })
  return { version, parent, values }
}

function isOutside(file: string): boolean {
  return file.startsWith('/') || file.split('/').some((part) => part === '.' || part === '..')
}

function number32(text: string, name: string): number {
  if (!/^\d{1,10}$/.test(text) || Number(text) > 0xffff_ffff) throw new ArgumentError(`Invalid ${name}: ${text}`)
  return Number(text)
}

function canonical(file: string): string {
  try {
    return realpathSync(file)
  } catch (error) {
    throw new ArgumentError(
      `Failed to canonicalize path ${file}: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
}
