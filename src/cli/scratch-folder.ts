import { rmSync } from 'node:fs'
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { isRunning } from './is-running.ts'

const prefix = 'hearth-code-'
const endings = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
/** What a dead process left is taken away once it is this old: a process that is not seen from here may be alive in another container. */
const staleMs = 3_600_000
/** Those of this process that are there. One listener for all of them: each of several would take the others for somebody who ends the process. */
const held = new Set<string>()

export interface ScratchFolder {
  readonly folder: string
  /** Removes it with all that is in it. */
  readonly dispose: () => Promise<void>
}

/** A temporary folder that does not outlive this process, unless that is killed with SIGKILL: then a later call removes it. */
export async function openScratchFolder(): Promise<ScratchFolder> {
  await removeStale()
  const folder = await mkdtemp(path.join(os.tmpdir(), `${prefix}${process.pid}-`))
  hold(folder)
  return {
    folder,
    async dispose() {
      await rm(folder, { recursive: true, force: true })
      letGo(folder)
    },
  }
}

function hold(folder: string): void {
  if (held.size === 0) for (const signal of endings) process.prependListener(signal, onSignal)
  held.add(folder)
}

function letGo(folder: string): void {
  held.delete(folder)
  if (held.size === 0) for (const signal of endings) process.off(signal, onSignal)
}

function onSignal(signal: NodeJS.Signals): void {
  // Somebody else listens too: the command ends by itself, and disposes.
  if (process.listenerCount(signal) > 1) return
  for (const folder of held) {
    rmSync(folder, { recursive: true, force: true })
    letGo(folder)
  }
  process.kill(process.pid, signal)
}

async function removeStale(): Promise<void> {
  for (const name of await readdir(os.tmpdir())) {
    const pid = /^hearth-code-(\d+)-/.exec(name)?.[1]
    if (pid === undefined || isRunning(Number(pid))) continue
    const folder = path.join(os.tmpdir(), name)
    const facts = await stat(folder).catch(() => null)
    if (facts === null || facts.uid !== process.getuid?.() || Date.now() - facts.mtimeMs < staleMs) continue
    await rm(folder, { recursive: true, force: true })
  }
}
