import { readFile, readdir, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { CliError } from './cli-error.ts'
import { parseIgnore, type Ignores } from './ignore.ts'

/** One file of a bundle. */
export interface CodeFile {
  /** Relative to the top, `/` between names. */
  readonly name: string
  /** Absolute, after symlinks. */
  readonly source: string
  readonly bytes: number
  readonly isExecutable: boolean
  /** It is a link, and this is where it leads; null for a file. */
  readonly link: string | null
}

/** Every file that a function's folder is made of, in one fixed order. A link stays one where what it leads to comes along under its own name;
 *  else it is followed, when its target lies inside the folder.
 *  Throws CliError for one that leaves the folder, leads nowhere or leads into itself. */
export async function listCodeFiles(folder: string): Promise<readonly CodeFile[]> {
  const top = await realpath(folder)
  const files: CodeFile[] = []
  await walk({ top, ignores: await readIgnore(top), files }, { folder: top, name: '', above: [top] })
  return files.sort((a, b) => (a.name < b.name ? -1 : 1))
}

async function readIgnore(top: string): Promise<Ignores> {
  try {
    return parseIgnore(await readFile(path.join(top, '.hearthignore'), 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return parseIgnore('')
    throw error
  }
}

interface Walk {
  readonly top: string
  readonly ignores: Ignores
  readonly files: CodeFile[]
}

interface Place {
  readonly folder: string
  /** Of the folder, in the bundle. */
  readonly name: string
  readonly above: readonly string[]
}

async function walk(state: Walk, at: Place): Promise<void> {
  const entries = await readdir(at.folder, { withFileTypes: true }).catch((error) =>
    refuseUnreadable(at.name || '.', error),
  )
  for (const entry of entries) {
    const name = at.name === '' ? entry.name : `${at.name}/${entry.name}`
    if (state.ignores(name, entry.isDirectory())) continue
    const joined = path.join(at.folder, entry.name)
    const source = entry.isSymbolicLink() ? await followLink(state.top, joined, name) : joined
    const facts = await stat(source).catch((error) => refuseUnreadable(name, error))
    if (entry.isSymbolicLink() && facts.isDirectory() && state.ignores(name, true)) continue
    const link = entry.isSymbolicLink() ? keptLink(state, at, { source, isFolder: facts.isDirectory() }) : null
    if (link !== null) {
      state.files.push({ name, source: joined, bytes: link.length, isExecutable: false, link })
      continue
    }
    if (facts.isDirectory()) {
      if (at.above.includes(source)) throw new CliError(`Cannot bundle "${name}": the link leads into itself.`)
      await walk(state, { folder: source, name, above: [...at.above, source] })
    } else if (facts.isFile()) {
      state.files.push({ name, source, bytes: facts.size, isExecutable: (facts.mode & 0o111) !== 0, link: null })
    } else throw new CliError(`Cannot bundle "${name}": it is neither a file nor a folder.`, { hint: ignoreHint })
  }
}

/** Where a link leads, as it can go into the archive: relative to its folder, to a place that is itself in the bundle. Null where it cannot. */
function keptLink(
  { top, ignores }: Walk,
  at: Place,
  { source, isFolder }: { source: string; isFolder: boolean },
): string | null {
  // Below a link that was followed, names and places differ.
  if (at.folder !== path.join(top, at.name) || at.above.includes(source)) return null
  const names = path.relative(top, source).split(path.sep)
  const isLeftOut = names.some((_, index) =>
    ignores(names.slice(0, index + 1).join('/'), isFolder || index + 1 < names.length),
  )
  return isLeftOut ? null : path.relative(at.folder, source).replaceAll(path.sep, '/')
}

async function followLink(top: string, link: string, name: string): Promise<string> {
  const target = await realpath(link).catch(() => null)
  if (target === null) throw new CliError(`Cannot bundle "${name}": the link leads nowhere.`, { hint: ignoreHint })
  if (target !== top && !target.startsWith(top + path.sep))
    throw new CliError(`Cannot bundle "${name}": the link leaves the folder, to ${target}.`, { hint: ignoreHint })
  return target
}

/** A file that cannot be read is no failure of ours. */
export function refuseUnreadable(name: string, error: unknown): never {
  const { code = '' } = error as NodeJS.ErrnoException
  // Names come as text: what is none has a sign in it that stands for any byte.
  const why = code === 'ENOENT' && name.includes('\ufffd') ? 'its name is not UTF-8' : reasons[code]
  if (why === undefined) throw error
  throw new CliError(`Cannot bundle "${name}": ${why}.`, { cause: error, hint: unreadableHint })
}

const reasons: Readonly<Record<string, string>> = {
  EACCES: 'you may not read it',
  EPERM: 'you may not read it',
  ENOENT: 'it went while it was looked at',
}
const unreadableHint = 'Put that right, or leave it out with a line in .hearthignore.'
const ignoreHint = 'Copy what it means into the folder, or leave it out with a line in .hearthignore.'
