import type { Language, Toolchain } from '../domain/build.ts'
import { execFile } from 'node:child_process'
import { readdir, realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const askMsMax = 15_000

/** Compilers of this machine, newest first: Go in $PATH, Rust of the system and of rustup, which has them below `home`. */
export async function findToolchains({ path, home }: { path: readonly string[]; home: string }): Promise<Toolchain[]> {
  const rustup = join(home, '.rustup/toolchains')
  const rustFolders = (await readdir(rustup).catch(() => [])).filter((name) => !/nightly|beta/.test(name))
  const asked = [
    ...[...path, '/usr/local/go/bin', '/usr/lib/go/bin'].map(async (folder) => ask('go', join(folder, 'go'))),
    ...rustFolders.map(async (name) => ask('rust', join(rustup, name, 'bin/rustc'))),
    ask('rust', '/usr/bin/rustc'),
    ask('rust', '/usr/local/bin/rustc'),
  ]
  const found = (await Promise.all(asked)).filter((each) => each !== null)
  const byPlace = new Map(found.map((each) => [`${each.language} ${each.version}`, each]))
  return [...byPlace.values()].sort((a, b) => b.version.localeCompare(a.version, 'en', { numeric: true }))
}

async function ask(language: Language, program: string): Promise<Toolchain | null> {
  try {
    const env = { PATH: '/usr/bin:/bin', HOME: '/nonexistent', GOTOOLCHAIN: 'local' }
    const { stdout } = await run(program, language === 'go' ? ['version'] : ['--version'], { timeout: askMsMax, env })
    const version = (language === 'go' ? /go(\d+\.\d+(?:\.\d+)?)/ : /rustc (\d+\.\d+\.\d+) /).exec(stdout)?.[1]
    if (version === undefined) return null
    const folder =
      language === 'go'
        ? (await run(program, ['env', 'GOROOT'], { timeout: askMsMax, env })).stdout.trim()
        : dirname(dirname(await realpath(program)))
    return { language, version, folder }
  } catch {
    // Not there, or not runnable: no toolchain.
    return null
  }
}
