import type { Language, Toolchain } from '../domain/build.ts'
import { AppError, invalid } from '../domain/error.ts'
import type { Arch } from '../domain/function.ts'
import { targets } from './targets.ts'
import { versionIn } from './toolchains.ts'

interface Wanted {
  readonly language: Language
  /** As the user wrote it: `go`, `rust1.75`. */
  readonly runtime: string
  readonly arch: Arch
}

/** The newest that is what `runtime` says and builds for `arch`; any Go, which can fetch another. Throws invalid with the command that fixes it. */
export function pickToolchain(toolchains: readonly Toolchain[], { language, runtime, arch }: Wanted): Toolchain {
  const all = toolchains.filter((each) => each.language === language)
  const line = /1\.\d+$/.exec(runtime)?.[0]
  const exact = all.filter(({ version }) => line === undefined || isOfLine(version, line))
  const fitting = exact.length === 0 && language === 'go' ? all : exact
  const found = fitting.find(({ arches }) => arches.includes(arch))
  if (found !== undefined) return found
  const [other] = fitting
  if (other !== undefined) throw noTarget(other, arch)
  const have = all.map(({ version }) => version).join(', ')
  const fix =
    language === 'go'
      ? 'Go is not on this machine. Install it (apt-get install golang-go, or go.dev/dl into /usr/local/go) and start Hearth again.'
      : missingText(line ?? 'stable')
  throw invalid('runtime', runtime, have === '' ? 'a prebuilt program instead' : `${language} of ${have}`, fix)
}

/** What compiled, in its own words: a program of another line than `runtime` names is not given out under that name.
 *  Throws guest_failed. */
export function checkedVersion(said: string, { language, runtime }: Pick<Wanted, 'language' | 'runtime'>): string {
  const version = versionIn(language, said)
  const line = /1\.\d+$/.exec(runtime)?.[0]
  if (version !== null && (line === undefined || isOfLine(version, line))) return version
  throw new AppError('guest_failed', `Cannot build: ${runtime} was asked for, but what compiled says "${said}".`)
}

/** `1.75.0` is of the line `1.75`. */
export function isOfLine(version: string, line: string): boolean {
  return version === line || version.startsWith(`${line}.`)
}

export function missingText(version: string): string {
  return `Rust ${version} is not on this machine. Install it with "rustup toolchain install ${version}" as the user that starts Hearth, start Hearth again, or take "rust".`
}

function noTarget({ version, arches }: Toolchain, arch: Arch): AppError {
  const { triple, linker } = targets[arch]
  const add = `"rustup target add ${triple} --toolchain ${version}" and "apt-get install gcc-${linker.replace(/-gcc$/, '')}"`
  return invalid(
    'arch',
    arch,
    arches.join(' or '),
    `Rust ${version} cannot build for ${arch} here: it lacks the target or its linker. Run ${add}, and start Hearth again.`,
  )
}
