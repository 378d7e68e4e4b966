import type { RuntimeBuild } from '../domain/runtime.ts'
import { addFile, addFolder } from './tree-walk.ts'
import type { Tree } from './tree.ts'
import { existsSync, lstatSync, readdirSync, readlinkSync, realpathSync } from 'node:fs'
import path from 'node:path'

export interface PlacedInterpreter {
  /** The build as it is seen in the image. */
  readonly runtime: RuntimeBuild
  /** Where a file of this machine that belongs to the interpreter, or lies elsewhere, is in the image; null where it may not be. */
  readonly placeOf: (file: string) => string | null
}

/** Folders that a VM mounts over: what lies there on this machine goes elsewhere in an image. */
const machineOwn = /^\/(tmp|var|opt|etc|proc|dev|run|sys|mnt)(\/|$)/
const movedTo = '/runtime'
const nodePath = '/usr/local/bin/node'

/** Adds the interpreter of `build`, without what only building with it needs. Node is one program, at the same path in every image. A Python stays at its own path
 *  where it can, since it may know its library by that alone; else it is at /runtime. Throws driver_failed, naming what cannot be read. */
export function addInterpreter(tree: Tree, build: RuntimeBuild, skipped: (what: string) => void): PlacedInterpreter {
  if (build.family === 'provided') return { runtime: build, placeOf: placeOutside }
  if (build.family === 'node') {
    addFile(tree, realpathSync(build.executable), nodePath.slice(1))
    return { runtime: { ...build, executable: nodePath, prefix: '' }, placeOf: placeOutside }
  }
  const from = build.prefix === '' ? '/usr' : build.prefix
  const to = machineOwn.test(from) ? movedTo : from
  const placeOf = (file: string): string | null => {
    return file.startsWith(`${from}/`) ? path.join(to, path.relative(from, file)).slice(1) : placeOutside(file)
  }
  addPython(tree, build, { placeOf, skipped })
  const executable = `/${placeOf(build.executable) ?? ''}`
  return { runtime: { ...build, executable, prefix: build.prefix === '' ? '' : to }, placeOf }
}

function placeOutside(file: string): string | null {
  return machineOwn.test(file) ? null : file.slice(1).replace(/^(bin|sbin|lib\w*)\//, 'usr/$1/')
}

/** Of a Python's library: its tests, its editor, its toolkit for windows, its installer, packages of this machine, what it was built with, and old bytecode. */
const uselessFolders =
  /(^|\/)(tests?|__pycache__|idlelib|turtledemo|tkinter|ensurepip|site-packages|dist-packages|config-[^/]*)$/
const uselessFiles = /(^|\/)(_test\w*|_tkinter|_ctypes_test|xx\w+)\.[^/]*so$|\.(a|o|exe|pyc)$/

function addPython(
  tree: Tree,
  build: RuntimeBuild,
  { placeOf, skipped }: Pick<PlacedInterpreter, 'placeOf'> & { skipped: (what: string) => void },
): void {
  const [major = '3', minor = '0'] = build.version.split('.')
  const bin = path.dirname(build.executable)
  addFile(tree, build.executable, placeOf(build.executable) ?? '')
  for (const name of readdirSync(bin)) {
    const file = path.join(bin, name)
    const isAlias = /^python(3(\.\d+)?)?$/.test(name) && lstatSync(file).isSymbolicLink()
    if (!isAlias || realpathSync(file) !== build.executable) continue
    const target = readlinkSync(file)
    tree.link(placeOf(file) ?? '', target.includes('/') ? path.basename(build.executable) : target)
  }
  const prefix = build.prefix === '' ? '/usr' : build.prefix
  for (const lib of ['lib', 'lib64']) {
    const source = path.join(prefix, lib, `python${major}.${minor}`)
    if (!existsSync(source) || lstatSync(path.join(prefix, lib)).isSymbolicLink()) continue
    const wants = (relative: string, entry: { isDirectory(): boolean }): boolean => {
      return entry.isDirectory() ? !uselessFolders.test(relative) : !uselessFiles.test(relative)
    }
    addFolder(tree, { source, target: placeOf(source) ?? '', wants, skipped })
  }
}
