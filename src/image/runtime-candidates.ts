import type { RuntimeFamily } from '../domain/runtime.ts'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'

export interface RuntimeCandidate {
  readonly path: string
  readonly family: Exclude<RuntimeFamily, 'provided'>
}

export interface CandidateSources {
  /** Folders as in $PATH. */
  readonly path: readonly string[]
  readonly home: string
  /** Holds `node-linux-<arch>-<version>/bin/node`, see `installRuntime`. */
  readonly installedFolder: string
  /** The interpreter that runs the platform, and others that come with it. */
  readonly bundled: readonly RuntimeCandidate[]
}

const pythonNames = ['python3.13', 'python3.12', 'python3.11', 'python3']

/** Everything on this machine that may be an interpreter: bundled, installed by Hearth, in $PATH, under pyenv, uv and nvm. */
export async function runtimeCandidates(sources: CandidateSources): Promise<RuntimeCandidate[]> {
  const { path, home, installedFolder, bundled } = sources
  const node = (file: string): RuntimeCandidate => ({ path: file, family: 'node' })
  const python = (file: string): RuntimeCandidate => ({ path: file, family: 'python' })
  const found = [
    ...bundled,
    ...(await entries(installedFolder)).map((folder) => node(join(folder, 'bin/node'))),
    ...path.map((folder) => node(join(folder, 'node'))),
    ...path.flatMap((folder) => pythonNames.map((name) => python(join(folder, name)))),
    ...(await entries(join(home, '.pyenv/versions'))).map((folder) => python(join(folder, 'bin/python3'))),
    ...(await entries(join(home, '.local/share/uv/python'))).map((folder) => python(join(folder, 'bin/python3'))),
    ...(await entries(join(home, '.nvm/versions/node'))).map((folder) => node(join(folder, 'bin/node'))),
  ]
  return [...new Map(found.map((candidate) => [candidate.path, candidate])).values()]
}

async function entries(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(() => [])).map((name) => join(folder, name))
}
