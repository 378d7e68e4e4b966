import { AppError } from '../domain/error.ts'
import { bundleName, type RuntimeBuild } from '../domain/runtime.ts'
import { addBase } from './base-files.ts'
import { addInterpreter } from './interpreter-files.ts'
import { addLibraries, systemLibraries } from './library-closure.ts'
import { addPythonBytecode } from './python-compile.ts'
import { Tree } from './tree.ts'
import { addFile, addFolder } from './tree-walk.ts'
import { accessSync, constants, existsSync } from 'node:fs'
import path from 'node:path'

export interface RuntimeTreeOptions {
  readonly build: RuntimeBuild
  /** Holds `node/` and `python/`. */
  readonly shimFolder: string
  /** The static program that is PID 1 in a VM. */
  readonly guestProgram: string
  /** A folder for what is fetched and compiled; the tree's files lie there until it is written. */
  readonly draft: string
  readonly report: (what: string, share?: number) => void
}

export interface RuntimeTree {
  readonly tree: Tree
  /** The build as it is seen in the image. */
  readonly runtime: RuntimeBuild
  /** What of the interpreter's folder could not be taken, a line each. */
  readonly skipped: readonly string[]
}

/** Where PID 1 of a VM is. */
const guestPath = 'usr/lib/hearth/hearth-guest'

/** The root file system of `build`'s VMs. Synchronous, 0.5 to 5 s: for worker threads.
 *  Throws driver_failed, naming what cannot be read, found or fetched. */
export function runtimeTree({ build, shimFolder, guestProgram, draft, report }: RuntimeTreeOptions): RuntimeTree {
  requireReadable(build)
  const tree = new Tree()
  const skipped: string[] = []
  const skip = (what: string): void => void skipped.push(what)
  report('base programs', 0)
  addBase(tree, { draft, skipped: skip })
  report(`${build.id} ${build.version}`, 0.1)
  const { runtime, placeOf } = addInterpreter(tree, build, skip)
  addFile(tree, guestProgram, guestPath)
  if (build.family !== 'provided') addShim(tree, build, shimFolder)
  report('shared libraries', 0.3)
  const arch = process.arch === 'arm64' ? 'arm64' : 'x64'
  addLibraries(tree, { arch, placeOf, isOptional: (file) => file.includes('/lib-dynload/'), skipped: skip })
  addProviders(tree, systemLibraries[arch])
  if (build.family === 'python') {
    report('bytecode', 0.4)
    addPythonBytecode(tree, build, draft)
  }
  return { tree, runtime, skipped }
}

function requireReadable({ id, executable }: RuntimeBuild): void {
  try {
    accessSync(executable, constants.R_OK)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    const message = `Cannot make the image of ${id}: its interpreter cannot be read (${why}). Run "hearth image build ${id}" as a user who can, for example root.`
    throw new AppError('driver_failed', message, { cause })
  }
}

/** With the bundle of this build alone, if one was made: the others are for other interpreters. */
function addShim(tree: Tree, build: RuntimeBuild, shimFolder: string): void {
  const bundle = new RegExp(`^\\.bundle/${bundleName(build)}(\\.js|\\.cache)?$`)
  const useless = /\.test\.ts$|(^|\/)(__pycache__|wire_vectors\.py|\.gitignore)$/
  const wants = (relative: string): boolean => {
    return relative.startsWith('.bundle/') ? bundle.test(relative) : !useless.test(relative)
  }
  addFolder(tree, { source: path.join(shimFolder, build.family), target: 'var/runtime', wants })
}

/** OpenSSL's module for old algorithms, which it loads by name. */
function addProviders(tree: Tree, folder: string): void {
  const module = `/${folder}/ossl-modules/legacy.so`
  if (tree.get(`${folder}/libcrypto.so.3`) !== undefined && existsSync(module)) addFile(tree, module, module.slice(1))
}
