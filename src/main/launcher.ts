import { fstatSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import net from 'node:net'
import { AppError } from '../domain/error.ts'

/** What `hearth-guest up` hands its child. */
const controlFd = 3
const publishMsMax = 5_000

/** The control socket to the launcher that started this process; null when none did. */
export function openLauncher(): net.Socket | null {
  try {
    if (!fstatSync(controlFd).isSocket()) return null
  } catch {
    return null // No such fd: started by hand, or on a system without a launcher.
  }
  return new net.Socket({ fd: controlFd, readable: true, writable: true })
}

/** Writes `file` by rename. Its folder may belong to somebody else: then the launcher does it. */
export async function publish(launcher: net.Socket | null, file: string, content: string): Promise<void> {
  if (launcher !== null) return publishByLauncher(launcher, file, content)
  const draft = `${file}.${process.pid}`
  await writeFile(draft, content)
  await rename(draft, file)
}

/** Request id 0 is free: the driver, which owns the channel by then, counts from 1 and drops replies to others. */
async function publishByLauncher(launcher: net.Socket, path: string, content: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    let rest = ''
    const receive = (chunk: string | Buffer): void => {
      const lines = (rest + chunk.toString()).split('\n')
      rest = lines.pop() ?? ''
      const reply = lines
        .map((line) => JSON.parse(line) as { id?: number; ok?: boolean; error?: string })
        .find(({ id }) => id === 0)
      if (reply !== undefined) settle(reply.ok === true ? null : (reply.error ?? 'no reason given'))
    }
    const timer = setTimeout(() => settle('the launcher does not answer'), publishMsMax)
    const settle = (failure: string | null): void => {
      clearTimeout(timer)
      launcher.off('data', receive)
      if (failure === null) resolve()
      else reject(new AppError('internal', `Cannot write ${path}: ${failure}.`))
    }
    launcher.on('data', receive)
    launcher.write(`${JSON.stringify({ id: 0, verb: 'publish', path, content })}\n`)
  })
}
