import { AppError } from '../domain/error.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import type { Tree } from './tree.ts'
import { addFile } from './tree-walk.ts'

/** Reads [source, bytecode file, path to write into it] lists from stdin, and prints the numbers of those that it compiled.
 *  Never checked against the source: on a read-only root it cannot be another. */
const program = `
import json, py_compile, sys
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
done = []
for n, (source, target, name) in enumerate(json.load(sys.stdin)):
    try:
        py_compile.compile(source, target, name, doraise=True, invalidation_mode=mode)
        done.append(n)
    except (py_compile.PyCompileError, UnicodeDecodeError):
        pass
print(json.dumps({"tag": sys.implementation.cache_tag, "done": done}))
`

const compileMsMax = 5 * 60_000

/** Adds bytecode of every Python source in `tree`, compiled by the interpreter of \`build\` into \`draft\`. Hash seed and order are fixed: the same sources give the same bytes.
 *  Without it a start takes 0.5 s longer. Throws driver_failed when the interpreter fails; a source that does not compile stays as it is. */
export function addPythonBytecode(tree: Tree, build: RuntimeBuild, draft: string): void {
  const folder = path.join(draft, 'bytecode')
  mkdirSync(folder, { recursive: true })
  const sources = tree.entries().flatMap(([target, entry]) => {
    const source = entry.type === 'file' ? entry.source : null
    return source !== null && target.endsWith('.py') ? [{ target, source }] : []
  })
  const jobs = sources.map(({ target, source }, n) => [source, path.join(folder, `${n}.pyc`), `/${target}`])
  const { tag, done } = compile(build, jobs)
  for (const n of done) {
    const { target } = sources[n] ?? { target: '' }
    const name = `${path.basename(target, '.py')}.${tag}.pyc`
    addFile(tree, path.join(folder, `${n}.pyc`), path.posix.join(path.posix.dirname(target), '__pycache__', name))
  }
}

function compile(build: RuntimeBuild, jobs: readonly (readonly string[])[]): { tag: string; done: number[] } {
  try {
    const output = execFileSync(build.executable, ['-S', '-s', '-B', '-c', program], {
      input: JSON.stringify(jobs),
      encoding: 'utf8',
      timeout: compileMsMax,
      maxBuffer: 16 * 1024 * 1024,
      cwd: '/',
      env: { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8', PYTHONHASHSEED: '0' },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    const { tag, done }: { tag: string; done: number[] } = JSON.parse(output)
    return { tag, done }
  } catch (cause) {
    const words = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim().split('\n').at(-1) : ''
    throw new AppError('driver_failed', `Cannot compile the library of ${build.id} ${build.version}: ${words ?? ''}`, {
      cause,
    })
  }
}
