import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseJail, type Jail } from './jailer-arguments.ts'

/* Takes the place of Firecracker's jailer in tests: the same command line, the same tree in the same folder, and as there that folder becomes the root of
 * the program, which has the same uid and gid, limits, network and pid namespace. What a static program does without and the simulator does
 * not is shown in its root besides, read-only: programs and libraries, this repository, /proc, /dev/null. */

const repository = path.resolve(import.meta.dirname, '../..')
const folderMode = 0o700
const folders = ['', 'dev', 'dev/net', 'run']
const devices = [
  ['dev/net/tun', 10, 200],
  ['dev/kvm', 10, 232],
  ['dev/urandom', 1, 9],
] as const

async function main(): Promise<void> {
  const startUs = Math.round(performance.timeOrigin * 1_000)
  const jail = parseJail(process.argv.slice(2))
  if (jail === null) return void process.stdout.write('Jailer v1.13.1\n\n')
  makeTree(jail)
  joinCgroups(jail)
  const [program = '', ...args] = command(jail, startUs)
  process.chdir(jail.root)
  if (!jail.isDaemon && !jail.hasPidNamespace) {
    savePid(jail, process.pid)
    process.execve?.(program, [program, ...args], environment)
  }
  const child = spawn(program, args, {
    ...{ env: environment, detached: jail.isDaemon },
    stdio: jail.isDaemon ? 'ignore' : 'inherit',
  })
  await once(child, 'spawn')
  savePid(jail, jail.hasPidNamespace ? await firstChild(child.pid ?? 0) : (child.pid ?? 0))
  child.unref()
}

const environment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' }

/** Throws when the jail was there before, as the real one does at its devices. */
function makeTree({ root, execFile, execName, uid, gid }: Jail): void {
  mkdirSync(root, { recursive: true })
  copyFileSync(execFile, path.join(root, execName))
  for (const name of folders) {
    const folder = path.join(root, name)
    mkdirSync(folder, { recursive: true })
    chmodSync(folder, folderMode)
    chownSync(folder, uid, gid)
  }
  for (const [name, major, minor] of devices) {
    const file = path.join(root, name)
    execFileSync('mknod', ['--mode=600', file, 'c', `${major}`, `${minor}`])
    chownSync(file, uid, gid)
  }
}

/** Its parent has its controllers delegated already: the launcher sees to that. */
function joinCgroups({ cgroups: { version, parent, values }, execName, id }: Jail): void {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
  for (const { file, value } of values) {
    const controller = file.split('.')[0] ?? ''
    const [, hierarchy] =
      mounts.find(([, , type, options = '']) =>
        version === '2' ? type === 'cgroup2' : type === 'cgroup' && options.split(',').includes(controller),
      ) ?? []
    if (hierarchy === undefined) throw new Error(`Hierarchy not found: ${file}`)
    const group = path.join(hierarchy, parent ?? execName, id)
    mkdirSync(group, { recursive: true })
    writeFileSync(path.join(group, file), `${value}\n`)
    writeFileSync(path.join(group, version === '2' ? 'cgroup.procs' : 'tasks'), `${process.pid}`)
  }
}

/** In a mount namespace of its own: the jail, which is the current folder, becomes the root. Arguments: folders to show, `--`, a command.
 *  Outside none of it is seen but empty folders. */
const enterJail = `set -e
jail=$PWD
mount --rbind "$jail" "$jail"
cd "$jail"
while [ "$1" != -- ]; do
  mkdir -p ".$1"
  mount --bind -o ro "$1" ".$1"
  shift
done
shift
for name in bin sbin lib lib64; do
  [ ! -L "/$name" ] || ln -sf "$(readlink "/$name")" "$name"
done
mkdir proc .old
mount -t proc proc proc
touch dev/null
mount --bind /dev/null dev/null
pivot_root . .old
cd /
umount -l .old
rmdir .old
exec "$@"
`

/** What the real one does by system calls, by util-linux' programs, each of which becomes the next: limits, namespaces, root, rights. */
function command(jail: Jail, startUs: number): string[] {
  const { id, execFile, uid, gid, netns, hasPidNamespace, openFilesMax, fileBytesMax, extra } = jail
  const shown = ['/usr', repository, ...(execFile.startsWith(`${repository}/`) ? [] : [path.dirname(execFile)])]
  return [
    ...['/usr/bin/prlimit', `--nofile=${openFilesMax}`, ...(fileBytesMax === null ? [] : [`--fsize=${fileBytesMax}`])],
    ...(netns === null ? [] : ['nsenter', `--net=${netns}`]),
    ...['unshare', '--mount', ...(hasPidNamespace ? ['--pid', '--fork', '--kill-child'] : [])],
    ...['sh', '-c', enterJail, 'jail', ...shown, '--'],
    ...['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'],
    ...[execFile, '--id', id, '--start-time-us', `${startUs}`, '--start-time-cpu-us', '0'],
    ...['--parent-cpu-time-us', `${Math.round(process.cpuUsage().user)}`, ...extra],
  ]
}

function savePid({ root, execName, uid, gid }: Jail, pid: number): void {
  const file = path.join(root, `${execName}.pid`)
  writeFileSync(file, `${pid}`)
  chownSync(file, uid, gid)
}

/** The pid that `unshare --fork` gave its child, once there is one. */
async function firstChild(pid: number): Promise<number> {
  for (;;) {
    const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')
    if (child !== undefined && child !== '') return Number(child)
    await new Promise((resolve) => void setTimeout(resolve, 1))
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
})
