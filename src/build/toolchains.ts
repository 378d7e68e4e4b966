import type { Language, Toolchain } from '../domain/build.ts'
import type { Arch } from '../domain/function.ts'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir, realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { targets, thisArch } from './targets.ts'

const run = promisify(execFile)
const askMsMax = 15_000

export interface ToolchainSources {
  /** Folders as in $PATH. */
  readonly path: readonly string[]
  readonly home: string
  /** $RUSTUP_HOME; the one in `home` where it is not set. */
  readonly rustupHome?: string | undefined
  /** Folder with linkers for other processors; where builds see it: /usr/bin. */
  readonly linkers?: string
}

/** Compilers of this machine, newest first: Go and Rust in $PATH, Rust of the system and of rustup. */
export async function findToolchains(sources: ToolchainSources): Promise<Toolchain[]> {
  const { path, home, rustupHome, linkers = '/usr/bin' } = sources
  const rustup = join(rustupHome ?? join(home, '.rustup'), 'toolchains')
  const system = (await namesIn('/usr/lib')).filter((name) => name.startsWith('rust-')).map((n) => `/usr/lib/${n}/bin`)
  const rustFolders = [...path, ...(await namesIn(rustup)).map((name) => join(rustup, name, 'bin')), ...system]
  const asked = [
    ...[...path, '/usr/local/go/bin', '/usr/lib/go/bin'].map(async (folder) => ask('go', join(folder, 'go'), linkers)),
    ...[...rustFolders, '/usr/bin', '/usr/local/bin'].map(async (folder) =>
      ask('rust', join(folder, 'rustc'), linkers),
    ),
  ]
  const found = (await Promise.all(asked)).filter((each) => each !== null)
  const byPlace = new Map(found.map((each) => [`${each.language} ${each.version}`, each]))
  return [...byPlace.values()].sort((a, b) => b.version.localeCompare(a.version, 'en', { numeric: true }))
}

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => [])
}

async function ask(language: Language, program: string, linkers: string): Promise<Toolchain | null> {
  try {
    const real = await realpath(program)
    // rustup's stand-in for whichever toolchain is the default: each is found in its own folder.
    if (real.endsWith('/rustup')) return null
    const env = { PATH: '/usr/bin:/bin', HOME: '/nonexistent', GOTOOLCHAIN: 'local' }
    const { stdout } = await run(program, language === 'go' ? ['version'] : ['--version'], { timeout: askMsMax, env })
    const version = versionIn(language, stdout)
    if (version === null) return null
    if (language === 'rust') {
      const folder = dirname(dirname(real))
      return { language, version, folder, arches: await rustArches(folder, linkers) }
    }
    const folder = (await run(program, ['env', 'GOROOT'], { timeout: askMsMax, env })).stdout.trim()
    return { language, version, folder, arches: ['x86_64', 'arm64'] }
  } catch {
    // Not there, or not runnable: no toolchain.
    return null
  }
}

/** The version in what a compiler says of itself; null for one between versions, as a nightly is. */
export function versionIn(language: Language, text: string): string | null {
  const form = language === 'go' ? /\bgo(\d+\.\d+(?:\.\d+)?)(?:\s|$)/ : /\brustc (\d+\.\d+\.\d+)(?:\s|$)/
  return form.exec(text)?.[1] ?? null
}

/** Another processor's programs need its standard library and a linker. */
async function rustArches(folder: string, linkers: string): Promise<Arch[]> {
  const libraries = await namesIn(join(folder, 'lib/rustlib'))
  const isThere = (arch: Arch): boolean => {
    const { triple, linker } = targets[arch]
    const hasLibrary = libraries.includes(triple) && existsSync(join(folder, 'lib/rustlib', triple, 'lib'))
    return hasLibrary && (arch === thisArch || existsSync(join(linkers, linker)))
  }
  return (['x86_64', 'arm64'] as const).filter(isThere)
}
