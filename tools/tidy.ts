import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { styleText } from 'node:util'

/* House rules that no linter knows, each message with its fix: `npm run tidy`. STYLE.md says why. */

export interface SourceFile {
  /** From the root of the repository, with slashes. */
  readonly path: string
  readonly text: string
}

export interface Finding {
  readonly path: string
  readonly line: number
  readonly rule: string
  readonly message: string
}

/** All findings over `files`, in order of path and line. */
export function tidy(files: readonly SourceFile[]): Finding[] {
  // The rules' own test is made of what they object to.
  const perFile = files
    .filter(({ path }) => path !== 'tools/tidy.test.ts')
    .flatMap((file) => fileRules.flatMap((rule) => rule(file)))
  return [...perFile, ...deadFiles(files)].toSorted((a, b) => a.path.localeCompare(b.path) || a.line - b.line)
}

type FileRule = (file: SourceFile) => Finding[]

const fileRules: readonly FileRule[] = [
  importDirection,
  ambientInput,
  asciiOnly,
  ownedTodos,
  focusedTests,
  machinePaths,
  fileLength,
  functionLength,
]

/** What each folder of src may import beside itself; `*` = everything. `src/main` wires, everybody else knows the domain only. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  domain: [],
  wire: ['domain'],
  store: ['domain'],
  artifact: ['domain'],
  image: ['domain'],
  origin: ['domain'],
  build: ['domain'],
  driver: ['domain', 'wire'],
  agent: ['domain', 'wire'],
  control: ['domain'],
  http: ['domain', 'control', 'sdk'],
  rpc: ['domain'],
  cli: ['sdk'],
  main: ['*'],
}

/** Folders whose subfolders are adapters of one interface: siblings stay strangers. */
const adapterFolders = new Set(['store', 'driver'])

/** What several of those siblings have in common, in a folder of its own. */
const sharedFolders = new Set(['driver/vm'])

function importDirection(file: SourceFile): Finding[] {
  const from = moduleOf(file.path)
  if (from === undefined) return []
  const allowed = mayImport[from.folder]
  if (allowed === undefined) {
    const message = `"src/${from.folder}" is not a folder of the house. Use one of: ${Object.keys(mayImport).join(', ')}.`
    return [{ path: file.path, line: 1, rule: 'direction', message }]
  }
  return importsOf(file).flatMap(({ target, line }) => {
    const problem = directionProblem(file, from, target, allowed)
    return problem === undefined ? [] : [{ path: file.path, line, rule: 'direction', message: problem }]
  })
}

function directionProblem(
  file: SourceFile,
  from: Module,
  target: string,
  allowed: readonly string[],
): string | undefined {
  if (allowed.includes('*')) return undefined
  if (target.startsWith('test/')) {
    return isTest(file.path) ? undefined : `Code must not import tests ("${target}"). Move what it needs into src.`
  }
  const to = moduleOf(target)
  const toFolder = to?.folder ?? target.split('/')[0] ?? target
  if (to !== undefined && to.folder === from.folder) {
    const isShared = to.adapter !== undefined && sharedFolders.has(`${to.folder}/${to.adapter}`)
    const areSiblings =
      adapterFolders.has(from.folder) && to.adapter !== from.adapter && from.adapter !== undefined && !isShared
    if (!areSiblings || to.adapter === undefined) return undefined
    return `"${from.folder}/${from.adapter}" must not import its sibling "${to.folder}/${to.adapter}". Move what both need into src/domain.`
  }
  if (allowed.includes(toFolder)) return undefined
  const list = ['itself', ...allowed].join(', ')
  return `"src/${from.folder}" may import ${list}, not "${target}". Take it as a parameter typed in src/domain, and let src/main pass it in.`
}

interface Module {
  readonly folder: string
  readonly adapter: string | undefined
}

function moduleOf(path: string): Module | undefined {
  const [src, folder, ...rest] = path.split('/')
  if (src !== 'src' || folder === undefined || rest.length === 0) return undefined
  return { folder, adapter: rest.length > 1 ? rest[0] : undefined }
}

const importPattern =
  /(?:\bfrom\s+|\bimport\s+|\bimport\(\s*|\bnew URL\(\s*|\bresolve\(\s*)['"]((?:\.{1,2}\/|@hearth\/)[^'"]+)['"]/g

/** Files of this repository that `file` names: imports, and URLs relative to it (worker threads, fixtures). */
function importsOf(file: SourceFile): { target: string; line: number }[] {
  if (!isCode(file.path)) return []
  return matchesOf(file.text, importPattern).map(({ match, line }) => {
    const specifier = match[1] ?? ''
    const isPackage = specifier.startsWith('@hearth/')
    const target = isPackage
      ? specifier.slice(1).replace('hearth/', '')
      : posix.join(posix.dirname(file.path), specifier)
    return { target, line }
  })
}

function ambientInput(file: SourceFile): Finding[] {
  const isOurs = /^(src|sdk)\//.test(file.path) && /\.ts$/.test(file.path)
  if (!isOurs || isTest(file.path) || /^src\/(main|cli)\//.test(file.path)) return []
  return findEach(file, /\bprocess\.env\b|\bconsole\.(?:log|error|warn|info|debug)\b/g, 'ambient', (text) =>
    text === 'process.env'
      ? 'process.env is read in src/main/config.ts only. Take the value as a parameter.'
      : `${text} writes past the log. Take a Logger as a parameter.`,
  )
}

function asciiOnly(file: SourceFile): Finding[] {
  if (!isCode(file.path) || /^(examples|console)\//.test(file.path)) return []
  return findEach(file, /[^\t\n\r -~]+/g, 'ascii', (text) => {
    const escapes = Array.from(text, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`).join('')
    return `Code is ASCII. Write ${escapes}, or a plain sign.`
  })
}

function ownedTodos(file: SourceFile): Finding[] {
  if (!isCode(file.path)) return []
  // Spelled so that this file passes its own rules, here and below.
  return findEach(file, /\b(?:T[O]DO|FIX[M]E|X[X]X)\b(?! ?\(#\d+\))/g, 'todo', (text) => {
    return `${text} has no owner. Do it, or name the issue: ${text} (#12).`
  })
}

function focusedTests(file: SourceFile): Finding[] {
  if (!isTest(file.path)) return []
  return findEach(file, /\b(?:test|it|describe|suite)\.(?:only|skip)\(|\bt\.skip\(\)/g, 'focus', (text) => {
    return `"${text}" leaves tests out. Remove it; a test that cannot run here calls t.skip('reason').`
  })
}

function machinePaths(file: SourceFile): Finding[] {
  return findEach(file, /(?<![\w.~*-])\/(?:wor[k]|roo[t])\//g, 'machine-path', (text) => {
    return `"${text}" is a path of one machine. Use a relative path, a temporary folder or a placeholder.`
  })
}

const fileLinesMax = 350
/** Tables of cases are long and flat. */
const testFileLinesMax = 600

function fileLength(file: SourceFile): Finding[] {
  if (!isOwnTypeScript(file.path)) return []
  const max = isTest(file.path) ? testFileLinesMax : fileLinesMax
  const lines = file.text.split('\n').length - 1
  if (lines <= max) return []
  const message = `${lines} lines, more than ${max}. Split it by what changes together.`
  return [{ path: file.path, line: 1, rule: 'file-length', message }]
}

const functionLinesMax = 70

/** Relies on prettier: a function's first line ends in `{`, and its last is the next `}` with the same indentation. */
function functionLength(file: SourceFile): Finding[] {
  if (!isOwnTypeScript(file.path)) return []
  const lines = file.text.split('\n')
  return lines.flatMap((line, at) => {
    if (!opensFunction(line)) return []
    const indentation = /^ */.exec(line)?.[0] ?? ''
    const end = lines.findIndex((other, i) => i > at && other.startsWith(`${indentation}}`))
    const length = end - at + 1
    if (length <= functionLinesMax) return []
    const message = `A function of ${length} lines, more than ${functionLinesMax}. Parents branch, leaves compute: move the leaves out.`
    return [{ path: file.path, line: at + 1, rule: 'function-length', message }]
  })
}

function opensFunction(line: string): boolean {
  // A suite or a contract groups tests as a file does.
  if (/^\s*(?:describe|suite)\(|\bfunction \w+Contract\(/.test(line)) return false
  if (!line.endsWith('{') || /^\s*(?:[/*]|(?:if|for|while|switch|else|do|try|catch|return)\b)/.test(line)) return false
  return /\bfunction\b|=> \{$|^\s*\)(?:: .*)? \{$|^\s*(?:(?:async|static|override|get|set) )*[*#\w]+\(.*\)(?:: .*)? \{$/.test(
    line,
  )
}

/** Started by hand, by another program or by name, never imported. */
const entryPattern =
  /^(?:src\/main|test\/(?:clients|e2e|promises|torture)|runtimes|examples|console|guest|docs)\/|\.config\.ts$/

function deadFiles(files: readonly SourceFile[]): Finding[] {
  const imported = new Set(
    files.flatMap((file) => [...importsOf(file).map(({ target }) => target), ...startedBy(file)]),
  )
  const starters = files.filter(({ path }) => /(?:^|\/)package\.json$|^bin\/|^\.ci\/|^tools\/|\.test\.ts$/.test(path))
  return files
    .filter(({ path }) => /\.(?:ts|mjs|js)$/.test(path) && !path.endsWith('.test.ts') && !path.endsWith('.d.ts'))
    .filter(({ path }) => !entryPattern.test(path) && !imported.has(path))
    .filter(({ path }) => !starters.some((starter) => starter.path !== path && namesFile(starter, path)))
    .map(({ path }) => {
      const message = 'Nothing imports or starts this file. Delete it; git remembers.'
      return { path, line: 1, rule: 'dead-file', message }
    })
}

/** Whether a script or manifest spells the file's path, from the root or from its own folder. */
function namesFile(starter: SourceFile, path: string): boolean {
  const folder = posix.dirname(starter.path)
  return starter.text.includes(path) || (folder !== '.' && starter.text.includes(`./${posix.relative(folder, path)}`))
}

const ownFolderPattern = /\bimport\.meta\.dirname,\s*['"]([^'"]+\.m?[jt]s)['"]/g

/** Programs that `file` starts: paths from its own folder. */
function startedBy(file: SourceFile): string[] {
  return matchesOf(file.text, ownFolderPattern).map(({ match }) => posix.join(posix.dirname(file.path), match[1] ?? ''))
}

function isCode(path: string): boolean {
  return /\.(?:[cm]?[jt]sx?|rs|py|sh|go|css)$/.test(path)
}

function isOwnTypeScript(path: string): boolean {
  return /^(?:src|sdk|tools|test)\/.*\.ts$/.test(path)
}

function isTest(path: string): boolean {
  return path.endsWith('.test.ts') || path.startsWith('test/')
}

function findEach(file: SourceFile, pattern: RegExp, rule: string, message: (text: string) => string): Finding[] {
  return matchesOf(file.text, pattern).map(({ match, line }) => {
    return { path: file.path, line, rule, message: message(match[0]) }
  })
}

function matchesOf(text: string, pattern: RegExp): { match: RegExpExecArray; line: number }[] {
  let line = 1
  let counted = 0
  return [...text.matchAll(pattern)].map((match) => {
    for (; counted < match.index; counted++) if (text.charCodeAt(counted) === 0x0a) line++
    return { match, line }
  })
}

/** What git tracks or would track, text only. */
function repositoryFiles(root: string): SourceFile[] {
  const list = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  return [...new Set(list.split('\0'))]
    .filter((path) => path !== '' && !path.endsWith('package-lock.json'))
    .flatMap((path) => readText(root, path))
}

function readText(root: string, path: string): SourceFile[] {
  try {
    const text = readFileSync(posix.join(root, path), 'utf8')
    return text.includes('\0') ? [] : [{ path, text }]
  } catch {
    // Deleted but still in the index, or a link to a folder: nothing to read.
    return []
  }
}

function main(): void {
  const findings = tidy(repositoryFiles(posix.join(import.meta.dirname, '..')))
  for (const { path, line, rule, message } of findings) {
    console.log(`${path}:${line} ${styleText('yellow', rule)} ${message}`)
  }
  if (findings.length === 0) return
  console.log(`${findings.length} finding(s).`)
  process.exitCode = 1
}

if (import.meta.main) main()
