import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { RuntimeBuild } from '../../src/domain/runtime.ts'
import { planErofs, writeErofs } from '../../src/image/erofs.ts'
import { addInterpreter } from '../../src/image/interpreter-files.ts'
import { debianKernel } from '../../src/image/kernel/debian-kernel.ts'
import { addLibraries } from '../../src/image/library-closure.ts'
import { runtimeTree } from '../../src/image/runtime-tree.ts'
import { addFile, addFolder } from '../../src/image/tree-walk.ts'
import { shimFolder } from '../support/process-rig.ts'
import { qemuProgram } from '../support/vm-rig.ts'

const repository = path.resolve(import.meta.dirname, '../..')
const guestProgram = path.join(repository, 'guest/target/release/hearth-guest')

/** Of Debian's cloud kernel, beside what a VM needs. */
const moduleNames = ['kvm', 'kvm_amd', 'tun', 'veth', 'bridge', 'vhost', 'vhost_vsock']
/** Programs of this machine that the tests and their set-up run. */
const programs = ['/usr/bin/mount', '/usr/bin/unshare', '/usr/bin/ps', qemuProgram]
/** Of the repository, what the tests load. */
const folders = ['src', 'test', 'runtimes', 'sdk', 'node_modules/undici', 'node_modules/dns-packet']

export interface MachineFiles {
  readonly kernel: string
  readonly initramfs: string
  readonly root: string
}

/** A whole machine in three files: Debian's kernel, its modules, and a root image with Node, Python, QEMU, this repository, and a shelf of kernels and images
 *  for the machines inside. `tests` is a shell script. */
export function makeMachine(
  folder: string,
  of: { node: RuntimeBuild; python: RuntimeBuild; shelf: string; tests: string; extra: readonly string[] },
): MachineFiles {
  const files = { kernel: 'vmlinux', initramfs: 'initramfs', root: 'root.erofs' }
  const at = (name: keyof MachineFiles): string => path.join(folder, files[name])
  const draft = path.join(folder, 'package')
  mkdirSync(draft)
  const { vmlinux, initramfs } = debianKernel(guestProgram, { draft, report() {}, further: moduleNames })
  writeFileSync(at('kernel'), vmlinux)
  writeFileSync(at('initramfs'), initramfs)
  writeRoot(folder, at('root'), of)
  return { kernel: at('kernel'), initramfs: at('initramfs'), root: at('root') }
}

function writeRoot(
  folder: string,
  file: string,
  { node, python, shelf, tests, extra }: Parameters<typeof makeMachine>[1],
): void {
  const draft = path.join(folder, 'draft')
  mkdirSync(draft)
  const skipped = (): void => {}
  // The init of the initramfs starts what lies where a VM's own init would.
  const init = path.join(import.meta.dirname, 'machine-init.sh')
  const { tree } = runtimeTree({ build: node, shimFolder, guestProgram: init, draft, report: skipped })
  const { placeOf, runtime } = addInterpreter(tree, python, skipped)
  tree.link('usr/local/bin/python3', runtime.executable)
  for (const program of [...programs, ...extra]) addFile(tree, program, program.slice(1))
  for (const data of ['usr/share/qemu', 'usr/share/seabios'])
    if (existsSync(`/${data}`)) addFolder(tree, { source: `/${data}`, target: data, skipped })
  addFile(tree, '/etc/ld.so.cache', 'etc/ld.so.cache')
  for (const name of folders)
    addFolder(tree, { source: path.join(repository, name), target: `repository/${name}`, skipped })
  for (const name of ['package.json', 'guest/target/release/hearth-guest'])
    addFile(tree, path.join(repository, name), `repository/${name}`)
  for (const name of ['repository/build', 'shelf']) tree.folder(name)
  addFolder(tree, { source: shelf, target: 'shelf' })
  tree.write('tests', tests)
  addLibraries(tree, { arch: 'x64', placeOf, isOptional: (each) => each.includes('/lib-dynload/'), skipped })
  writeErofs(planErofs(tree), { file, uuid: Buffer.alloc(16, 1) })
}
