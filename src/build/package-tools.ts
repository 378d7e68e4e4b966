import type { PackageTool } from '../domain/build.ts'
import { readdir, readFile, realpath } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** Every npm and pip of this machine, newest first: npm as a command of `path`, pip beside the Pythons of the system, of pyenv and uv. Only looks, runs none. */
export async function findPackageTools({
  path,
  home,
}: {
  path: readonly string[]
  home: string
}): Promise<PackageTool[]> {
  const npms = path.map(async (folder) => npmAt(join(folder, 'npm')))
  const places = await Promise.all(pythonFolders(home).map(pipsIn))
  const found = [...(await Promise.all(npms)), ...places.flat()].filter((each) => each !== null)
  const byPlace = new Map(found.map((each) => [`${each.tool} ${each.folder}`, each]))
  return [...byPlace.values()].sort((a, b) => b.version.localeCompare(a.version, 'en', { numeric: true }))
}

/** `folder` holds bin/npm-cli.js. */
async function npmAt(command: string): Promise<PackageTool | null> {
  try {
    const program = await realpath(command)
    if (basename(program) !== 'npm-cli.js') return null
    const folder = dirname(dirname(program))
    const { version }: { version: unknown } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'))
    return typeof version === 'string' ? { tool: 'npm', version, folder } : null
  } catch {
    // Not there, or another program of that name: no npm.
    return null
  }
}

/** Folders that hold `lib/python3.N`. */
function pythonFolders(home: string): { below: string; isPrefix: boolean }[] {
  return [
    { below: '/usr', isPrefix: true },
    { below: '/usr/local', isPrefix: true },
    { below: join(home, '.pyenv/versions'), isPrefix: false },
    { below: join(home, '.local/share/uv/python'), isPrefix: false },
  ]
}

/** `folder` of a pip holds the package `pip`, and what else lies there. */
async function pipsIn({ below, isPrefix }: { below: string; isPrefix: boolean }): Promise<PackageTool[]> {
  const prefixes = isPrefix ? [below] : (await namesIn(below)).map((name) => join(below, name))
  const found = await Promise.all(
    prefixes.map(async (prefix) => {
      const libraries = (await namesIn(join(prefix, 'lib'))).filter((name) => /^python3(\.\d+)?$/.test(name))
      const folders = libraries.flatMap((name) =>
        ['site-packages', 'dist-packages'].map((packages) => join(prefix, 'lib', name, packages)),
      )
      return Promise.all(folders.map(pipIn))
    }),
  )
  return found.flat().filter((each) => each !== null)
}

async function pipIn(folder: string): Promise<PackageTool | null> {
  const names = await namesIn(folder)
  const version = names.map((name) => /^pip-([\d.]+)\.dist-info$/.exec(name)?.[1]).find((each) => each !== undefined)
  return version === undefined || !names.includes('pip') ? null : { tool: 'pip', version, folder }
}

async function namesIn(folder: string): Promise<readonly string[]> {
  return readdir(folder).catch(() => [])
}
