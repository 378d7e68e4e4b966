import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { isRunning } from '../cli/is-running.ts'
import { AppError } from '../domain/error.ts'
import { isMissing } from '../domain/is-missing.ts'

/** Who holds a data folder. A pid alone may be somebody else's by now: `startedAt` tells two processes of one pid apart. */
interface Holder {
  readonly pid: number
  /** Clock ticks since boot, field 22 of /proc/PID/stat; '' where there is no /proc. */
  readonly startedAt: string
}

export const lockName = 'platform.lock'

/** Takes `data` for this process, so that two platforms never share one folder; the lock of a dead process is taken over.
 *  Held until `releaseLock`, also across execve. Throws conflict, naming the holder's pid. */
export function takeLock(data: string): void {
  const lock = path.join(data, lockName)
  const draft = `${lock}.${process.pid}`
  rmSync(draft, { force: true })
  // The folder belongs to the service user and this may be root: `wx` never writes through a link that lies in wait.
  writeFileSync(draft, JSON.stringify({ pid: process.pid, startedAt: startedAt(process.pid) } satisfies Holder), {
    flag: 'wx',
  })
  try {
    for (let attempt = 0; attempt < 5; attempt++) {
      if (tryLink(draft, lock)) return
      const holder = readHolder(lock)
      if (holder !== null && isAlive(holder))
        throw new AppError(
          'conflict',
          `Cannot start on ${data}: the platform of process ${holder.pid} is using it. Stop that one, or choose another folder with --data.`,
        )
      setAside(lock, draft)
    }
    throw new AppError('conflict', `Cannot start on ${data}: other platforms are starting on it at this moment.`)
  } finally {
    rmSync(draft, { force: true })
  }
}

export function releaseLock(data: string): void {
  rmSync(path.join(data, lockName), { force: true })
}

/** `link` fails when the name is taken: the one step that only one of two starters can win. */
function tryLink(draft: string, lock: string): boolean {
  try {
    linkSync(draft, lock)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** Moves a dead holder's lock away; puts it back when, in between, a living process had taken it. */
function setAside(lock: string, draft: string): void {
  const aside = `${draft}.stale`
  try {
    renameSync(lock, aside)
  } catch (error) {
    if (isMissing(error)) return
    throw error
  }
  const moved = readHolder(aside)
  if (moved !== null && isAlive(moved)) tryLink(aside, lock)
  rmSync(aside, { force: true })
}

function readHolder(file: string): Holder | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Holder
  } catch {
    return null // Gone, or half-written by a machine that lost power: nobody holds it.
  }
}

function isAlive({ pid, startedAt: then }: Holder): boolean {
  if (!isRunning(pid)) return false
  const now = startedAt(pid)
  return now === '' || then === '' || now === then
}

function startedAt(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The second field is a name in brackets that may hold anything, brackets included.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}
