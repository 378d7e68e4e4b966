import { chmod, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'

/** What the ready file and `server.json` say, to whoever waits for the platform or looks for it. */
export interface ServerFacts {
  readonly url: string
  /** Where URLs of functions are served. */
  readonly urlsUrl: string
  readonly apiKeyFile: string
  /** The platform's own process, not the launcher's. */
  readonly pid: number
  readonly version: string
}

export function serverFile(data: string): string {
  return path.join(data, 'server.json')
}

export function apiKeyFile(data: string): string {
  return path.join(data, 'admin.key')
}

/** Appears whole or not at all. */
export async function writeByRename(file: string, content: string, mode: number): Promise<void> {
  const draft = `${file}.${process.pid}`
  await writeFile(draft, content, { mode })
  await chmod(draft, mode)
  await rename(draft, file)
}

export async function removeServerFile(data: string): Promise<void> {
  const file = serverFile(data)
  const facts = await readFile(file, 'utf8').then(
    (text) => JSON.parse(text) as ServerFacts,
    () => null,
  )
  if (facts?.pid === process.pid) await rm(file, { force: true })
}
