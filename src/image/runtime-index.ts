import { parseDigest, type Digest } from '../domain/artifact.ts'
import { bundleName, familyOf, runtimeIdOf, type RuntimeBuild } from '../domain/runtime.ts'
import { createHash, randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'

/* Which image was made for which build: `runtimes/<key>.json` beside the images. An image's digest is known only once its tree is; by the key it is found without. */

export interface IndexedImage {
  /** Digest of the build, the same for a build that moved. */
  readonly build: Digest
  /** Of the recipe and the guest program: without these the platform does not understand the image. */
  readonly recipe: string
  readonly digest: Digest
  readonly bytes: number
  readonly runtime: RuntimeBuild
  readonly builtAt: number
  /** What it is without. */
  readonly skipped: readonly string[]
}

export interface ImageKey {
  readonly build: Digest
  readonly recipe: string
  /** What of the machine goes in besides: its packages and certificates. */
  readonly machine: string
  /** Digest of the guest program alone; part of the recipe. */
  readonly guest: Digest
}

/** The key of the image of `build` made now. */
export async function imageKey(
  build: RuntimeBuild,
  { guestProgram, shimFolder }: { guestProgram: string; shimFolder: string },
): Promise<ImageKey> {
  const recipe = createHash('sha256').update(process.arch)
  // The code that makes images is its own version: with another one, the same build may be another image.
  for (const name of (await readdir(import.meta.dirname)).sort())
    if (name.endsWith('.ts') && !name.endsWith('.test.ts'))
      recipe.update(await readFile(path.join(import.meta.dirname, name)))
  const program = await readFile(guestProgram)
  recipe.update(program)
  const stamps = ['/var/lib/dpkg/status', '/etc/ssl/certs/ca-certificates.crt', '/etc/ld.so.conf.d'].map(stampOf)
  // Where set-up could not make a bundle, an image is without: it is not the one with it.
  const bundles = await readdir(path.join(shimFolder, build.family, '.bundle')).catch(() => [])
  const bundled = bundles.filter((name) => name.startsWith(bundleName(build)) && !/\.\d+$/.test(name)).length
  const machine = [...(await Promise.all(stamps)), `${bundled}`].join(' ')
  const guest: Digest = `sha256:${createHash('sha256').update(program).digest('hex')}`
  return { build: build.image, recipe: recipe.digest('hex'), machine, guest }
}

async function stampOf(file: string): Promise<string> {
  try {
    const { mtimeMs, size } = await stat(file)
    return `${mtimeMs} ${size}`
  } catch {
    return 'absent' // Not a Debian machine, or one without certificates: building says what it lacks.
  }
}

/** What was made for exactly this key in the first of `folders` that has it. */
export function findImage(folders: readonly string[], key: ImageKey): (IndexedImage & { path: string }) | null {
  for (const folder of folders) {
    const found = readEntry(folder, `${nameOf(key)}.json`)
    if (found !== null) return found
  }
  return null
}

/** The newest for the build and recipe, whatever the machine had installed then. */
export function findOlderImage(folders: readonly string[], key: ImageKey): (IndexedImage & { path: string }) | null {
  const found = folders.flatMap((folder) => indexedImages(folder))
  return found.find(({ build, recipe }) => build === key.build && recipe === key.recipe) ?? null
}

/** Every image of the folder, newest first. */
export function indexedImages(folder: string): (IndexedImage & { path: string })[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .flatMap((name) => readEntry(folder, name) ?? [])
    .sort((a, b) => b.builtAt - a.builtAt)
}

export function indexImage(folder: string, key: ImageKey, image: Omit<IndexedImage, 'build' | 'recipe'>): void {
  mkdirSync(folder, { recursive: true })
  const file = path.join(folder, `${nameOf(key)}.json`)
  const draft = `${file}.${randomUUID()}`
  const entry: IndexedImage = { build: key.build, recipe: key.recipe, ...image }
  writeFileSync(draft, `${JSON.stringify(entry, null, 2)}\n`, { mode: 0o644, flush: true })
  renameSync(draft, file)
}

/** Removes an image and whatever names it. */
export function removeImage(folder: string, digest: Digest): void {
  for (const name of readdirSync(folder))
    if (name.endsWith('.json') && readEntry(folder, name)?.digest === digest) rmSync(path.join(folder, name))
  rmSync(imagePath(folder, digest), { force: true })
}

export function imagePath(folder: string, digest: Digest): string {
  return path.join(folder, `${digest.slice('sha256:'.length)}.erofs`)
}

function nameOf({ build, recipe, machine }: ImageKey): string {
  return createHash('sha256').update(`${build}\n${recipe}\n${machine}`).digest('hex').slice(0, 32)
}

/** null for an entry whose image is gone, or that this version does not understand. */
function readEntry(folder: string, name: string): (IndexedImage & { path: string }) | null {
  try {
    const entry: Record<string, unknown> = JSON.parse(readFileSync(path.join(folder, name), 'utf8'))
    const [digest, build] = [parseDigest(String(entry['digest'])), parseDigest(String(entry['build']))]
    const { recipe, bytes, builtAt } = entry
    const runtime = readRuntime(entry['runtime'])
    if (digest === undefined || build === undefined || runtime === null) return null
    const file = imagePath(folder, digest)
    if (typeof recipe !== 'string' || typeof builtAt !== 'number' || bytes !== statSync(file).size) return null
    const skipped = Array.isArray(entry['skipped']) ? entry['skipped'].map(String) : []
    return { build, recipe, digest, bytes: statSync(file).size, runtime, builtAt, skipped, path: file }
  } catch {
    return null
  }
}

function readRuntime(value: unknown): RuntimeBuild | null {
  if (typeof value !== 'object' || value === null) return null
  const fields = new Map<string, unknown>(Object.entries(value))
  const text = (name: string): string => {
    const field = fields.get(name)
    return typeof field === 'string' ? field : ''
  }
  const id = runtimeIdOf(text('id'))
  const digest = parseDigest(text('digest'))
  if (id === null || digest === undefined) return null
  const family = familyOf(id)
  const isBridged = family === 'provided'
  const [version, executable, prefix] = [text('version'), text('executable'), text('prefix')]
  return { id, family, version, executable, prefix, digest, isBridged, image: digest }
}
