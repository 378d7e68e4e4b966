import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { listCodeFiles } from './code-files.ts'
import { parsePackageJson } from './package-json.ts'

/** The file of a function's folder that names packages which do not lie beside the code; null when nothing is missing. */
export async function missingPackages(folder: string, runtime: string): Promise<string | null> {
  if (/^node/.test(runtime)) return (await isMissing(folder, manifest)) ? manifest.file : null
  if (/^python/.test(runtime)) return (await isMissing(folder, requirements)) ? requirements.file : null
  return null
}

interface Naming {
  readonly file: string
  readonly namesAny: (text: string) => boolean
  /** A path that is there once packages are installed. */
  readonly installed: RegExp
}

const manifest: Naming = {
  file: 'package.json',
  namesAny(text) {
    const { dependencies, optionalDependencies } = parsePackageJson(text)
    return [dependencies, optionalDependencies].some(
      (part) => typeof part === 'object' && Object.keys(part ?? {}).length > 0,
    )
  },
  installed: /^node_modules\//,
}

const requirements: Naming = {
  file: 'requirements.txt',
  namesAny: (text) => text.split('\n').some((line) => /^\s*[^\s#]/.test(line)),
  // What pip leaves beside each package.
  installed: /^[^/]+\.dist-info\//,
}

async function isMissing(folder: string, { file, namesAny, installed }: Naming): Promise<boolean> {
  const text = await readFile(path.join(folder, file), 'utf8').catch(() => null)
  if (text === null || !namesAny(text)) return false
  const files = await listCodeFiles(folder)
  return files.some(({ name }) => name === file) && !files.some(({ name }) => installed.test(name))
}
