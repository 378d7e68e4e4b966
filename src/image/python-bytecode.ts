import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import type { RuntimeBuild } from '../domain/runtime.ts'

/** Compiles the Python shim for each interpreter that has no bytecode of it yet: the folder is read-only in a sandbox, and compiling there costs every boot 10 to 20 ms.
 *  Checked by hash, so that a changed source is never run from old bytecode. A folder that cannot be written costs only time. */
export async function compilePythonShim(builds: readonly RuntimeBuild[], shimFolder: string): Promise<void> {
  const folder = path.join(shimFolder, 'python')
  for (const { family, version, executable } of builds) {
    const [major = '3', minor = '0'] = version.split('.')
    const compiled = path.join(folder, '__pycache__', `hearth_runtime.cpython-${major}${minor}.pyc`)
    if (family !== 'python' || existsSync(compiled)) continue
    const args = ['-I', '-S', '-m', 'compileall', '-q', '--invalidation-mode', 'checked-hash', folder]
    await promisify(execFile)(executable, args, { timeout: 20_000 }).catch(() => {})
  }
}
