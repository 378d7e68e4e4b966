import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  type Dirent,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { testCache } from '../../test/support/test-cache.ts'

/* Programs that speak frames themselves, built from a handler's source. */

const runtimes = path.resolve(import.meta.dirname, '..')

export const nativeDoor = path.join(import.meta.dirname, 'native-door.py')

/** Why programs of this language cannot be built here; false when they can. */
export function toolMissing(program: 'go' | 'cargo'): string | false {
  try {
    execFileSync(program, [program === 'go' ? 'version' : '--version'], { stdio: 'ignore' })
    return false
  } catch {
    return `${program} is not installed`
  }
}

/** Builds `main` as a package main that may import hearth.dev/runtime; returns the program. It is built once for each shim and toolchain. */
export function goProgram(main: string): string {
  return builtOnce('go', main, () => buildGo(main))
}

/** Builds `main` as a crate with hearth-runtime and serde_json; returns the program. It is built once for each shim and toolchain. */
export function rustProgram(main: string): string {
  return builtOnce('rust', main, () => buildRust(main))
}

/** The program in the tests' cache, named after all that goes into it; made by `build` where it is absent. */
function builtOnce(language: 'go' | 'rust', main: string, build: () => string): string {
  const hash = createHash('sha256').update(JSON.stringify([language, main, toolchainText(language)]))
  const shim = path.join(runtimes, language)
  for (const entry of readdirSync(shim, { recursive: true, withFileTypes: true }).toSorted(byPath))
    if (/^(go\.mod|Cargo\.toml|.+(?<!_test)\.(go|rs))$/.test(entry.name))
      hash.update(`${entry.name}\0`).update(readFileSync(path.join(entry.parentPath, entry.name)))
  // This file says how it is built.
  hash.update(readFileSync(import.meta.filename))
  const file = path.join(testCache('native'), `${language}-${hash.digest('hex').slice(0, 16)}`)
  if (existsSync(file)) return file
  mkdirSync(path.dirname(file), { recursive: true })
  cpSync(build(), `${file}.${process.pid}`)
  renameSync(`${file}.${process.pid}`, file)
  return file
}

function byPath(a: Dirent, b: Dirent): number {
  return path.join(a.parentPath, a.name) < path.join(b.parentPath, b.name) ? -1 : 1
}

function toolchainText(language: 'go' | 'rust'): string {
  const command = language === 'go' ? ['go', 'version'] : ['rustc', '-vV']
  return execFileSync(command[0] ?? '', command.slice(1), { encoding: 'utf8' })
}

function buildGo(main: string): string {
  const folder = scratch()
  writeFileSync(path.join(folder, 'main.go'), main)
  const shim = path.join(runtimes, 'go')
  const mod = `module sample\n\ngo 1.18\n\nrequire hearth.dev/runtime v0.0.0\n\nreplace hearth.dev/runtime => ${shim}\n`
  writeFileSync(path.join(folder, 'go.mod'), mod)
  const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-buildvcs=false' }
  execFileSync('go', ['build', '-trimpath', '-ldflags=-s -w', '-o', 'program', '.'], { cwd: folder, env })
  return path.join(folder, 'program')
}

function buildRust(main: string): string {
  const folder = scratch()
  mkdirSync(path.join(folder, 'src'))
  cpSync(path.join(runtimes, 'rust/src'), path.join(folder, 'shim/src'), { recursive: true })
  cpSync(path.join(runtimes, 'rust/Cargo.toml'), path.join(folder, 'shim/Cargo.toml'))
  writeFileSync(path.join(folder, 'src/main.rs'), main)
  const manifest = `[package]\nname = "program"\nversion = "0.1.0"\nedition = "2021"\n\n[dependencies]\nhearth-runtime = { path = "shim" }\nserde_json = "1"\n`
  writeFileSync(path.join(folder, 'Cargo.toml'), manifest)
  const env = { ...process.env, CARGO_TARGET_DIR: path.join(os.tmpdir(), 'hearth-native-test') }
  execFileSync('cargo', ['build', '--quiet'], { cwd: folder, env })
  const program = path.join(folder, 'program')
  cpSync(path.join(env.CARGO_TARGET_DIR, 'debug/program'), program)
  return program
}

function scratch(): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-native-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  return folder
}
