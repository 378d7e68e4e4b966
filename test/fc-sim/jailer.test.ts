import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { parseJail } from './jailer-arguments.ts'

/** Starts ./jailer-main.ts. */
const jailer = path.join(import.meta.dirname, 'jailer')
const folder = mkdtempSync(path.join(os.tmpdir(), 'fj-'))
after(() => rmSync(folder, { recursive: true, force: true }))

chmodSync(folder, 0o755)
const program = path.join(folder, 'bin/firecracker')
mkdirSync(path.dirname(program))
writeFileSync(program, '#!/bin/sh\necho "$@"\nid -u\nid -g\nid -G\npwd\nulimit -n\nenv | sort\n', { mode: 0o755 })

function words(id: string, ...more: string[]): string[] {
  const base = ['--id', id, '--exec-file', program, '--uid', '1820000001', '--gid', '1820000002']
  return [...base, '--chroot-base-dir', folder, ...more]
}

test('parseJail: all that the real one takes', () => {
  const limits = ['--resource-limit', 'fsize=1000', '--resource-limit', 'no-file=99']
  const group = ['--cgroup-version', '2', '--parent-cgroup', 'a/b', '--cgroup', 'pids.max=5']
  const jail = parseJail(words('vm-1', ...limits, ...group, '--daemonize', '--', '--api-sock', 'x'))
  assert.deepEqual(
    {
      root: jail?.root,
      fsize: jail?.fileBytesMax,
      files: jail?.openFilesMax,
      isDaemon: jail?.isDaemon,
      extra: jail?.extra,
    },
    { root: `${folder}/firecracker/vm-1/root`, fsize: 1000, files: 99, isDaemon: true, extra: ['--api-sock', 'x'] },
  )
  assert.deepEqual(jail?.cgroups, { version: '2', parent: 'a/b', values: [{ file: 'pids.max', value: '5' }] })
  assert.equal(parseJail(['--version', '--nonsense']), null)
})

test('parseJail: what the real one refuses', () => {
  const refused: readonly (readonly [RegExp, readonly string[]])[] = [
    [/'id' required/, words('a').slice(2)],
    [/'uid' required/, words('a').filter((word) => word !== '--uid' && word !== '1820000001')],
    [/Invalid instance ID/, words('a/b')],
    [/Invalid instance ID/, words('x'.repeat(65))],
    [/wasn't expected/, words('a', '--colour', 'blue')],
    [/wasn't expected/, words('a', '--netns=/run/x')],
    [/requires a value/, words('a', '--netns')],
    [/more than once/, words('a', '--id', 'b')],
    [/Invalid format for resources limits/, words('a', '--resource-limit', 'fsize')],
    [/Invalid resource argument: nofile/, words('a', '--resource-limit', 'nofile=5')],
    [/Invalid limit value/, words('a', '--resource-limit', 'fsize=much')],
    [/invalid cgroup version/, words('a', '--cgroup-version', '3')],
    [/Invalid format for cgroups/, words('a', '--cgroup', 'pids.max')],
    [/Cgroup invalid file/, words('a', '--cgroup', '../pids.max=1')],
    [/Parent cgroup path is invalid/, words('a', '--parent-cgroup', '/a')],
    [/Failed to canonicalize/, [...words('a').slice(0, -1), '/nowhere']],
  ]
  for (const [message, argv] of refused) assert.throws(() => parseJail(argv), message)
  const bad = words('a')
  bad[bad.indexOf('--uid') + 1] = '-1'
  assert.throws(() => parseJail(bad), /Invalid uid: -1/)
})

const noRoot = process.getuid?.() === 0 ? false : 'jails need root'

test('the jailer: tree, rights, limits and environment', { skip: noRoot }, () => {
  const argv = words('vm-2', '--resource-limit', 'no-file=99', '--', '--extra', 'word')
  const { stdout, stderr, status } = spawnSync('setpriv', ['--groups', '7', jailer, ...argv], {
    ...{ encoding: 'utf8', env: { ...process.env, SECRET: 'yes' } },
  })
  assert.equal(status, 0, stderr)
  const root = path.join(folder, 'firecracker/vm-2/root')
  const [args, uid, gid, groups, cwd, files, ...env] = stdout.trim().split('\n')
  assert.match(
    args ?? '',
    /^--id vm-2 --start-time-us \d+ --start-time-cpu-us \d+ --parent-cpu-time-us \d+ --extra word$/,
  )
  assert.deepEqual([uid, gid, groups, cwd, files], ['1820000001', '1820000002', '1820000002', '/', '99'])
  assert.equal(
    env.some((line) => line.startsWith('SECRET')),
    false,
  )
  assert.match(readFileSync(path.join(root, 'firecracker.pid'), 'utf8'), /^\d+$/)
  assert.deepEqual(readFileSync(path.join(root, 'firecracker')), readFileSync(program))
  for (const name of ['', 'dev', 'dev/net', 'run']) {
    const found = statSync(path.join(root, name))
    assert.deepEqual([found.mode & 0o777, found.uid, found.gid], [0o700, 1_820_000_001, 1_820_000_002], name)
  }
  const tun = statSync(path.join(root, 'dev/net/tun'))
  assert.deepEqual([tun.isCharacterDevice(), tun.rdev, tun.uid], [true, (10 << 8) | 200, 1_820_000_001])
})

test('the jailer: what was put into the jail before stays, and a jail is made once', { skip: noRoot }, () => {
  const root = path.join(folder, 'firecracker/vm-3/root')
  mkdirSync(root, { recursive: true })
  writeFileSync(path.join(root, 'kernel'), 'mine')
  assert.equal(spawnSync(jailer, words('vm-3')).status, 0)
  assert.equal(readFileSync(path.join(root, 'kernel'), 'utf8'), 'mine')
  const again = spawnSync(jailer, words('vm-3'), { encoding: 'utf8' })
  assert.equal(again.status, 1)
  assert.match(again.stderr, /mknod/)
})
