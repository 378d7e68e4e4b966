import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** Who the platform runs as once it has no privilege left. */
export interface ServiceUser {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

const userName = 'hearth'
/** Where no user can be made (no useradd, read-only /etc): a number that distributions leave unused, below Debian's 65534. */
const fallbackId = 64_198

/** The system user `hearth`, made when absent. Needs root. */
export function ensureServiceUser(): ServiceUser {
  const known = readUser()
  if (known !== null) return known
  const login = '/usr/sbin/nologin'
  const args = [
    '--system',
    '--user-group',
    '--no-create-home',
    '--home-dir',
    '/nonexistent',
    '--shell',
    login,
    userName,
  ]
  spawnSync('useradd', args, {
    stdio: 'ignore',
    env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin` },
  })
  return findServiceUser()
}

/** The same without making it. */
export function findServiceUser(): ServiceUser {
  return readUser() ?? { name: `uid ${fallbackId}`, uid: fallbackId, gid: fallbackId }
}

function readUser(): ServiceUser | null {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${userName}:`))
  const [, , uid, gid] = line?.split(':') ?? []
  return uid === undefined || gid === undefined ? null : { name: userName, uid: Number(uid), gid: Number(gid) }
}
