import { accessSync, constants, lchownSync, mkdirSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { Context } from '../cli/context.ts'
import { AppError } from '../domain/error.ts'
import type { ImageStore } from '../domain/image.ts'
import type { Logger } from '../domain/logger.ts'
import { openImageStore } from '../image/image-store.ts'
import { guestProgram } from './app.ts'
import { readConfig, type Config } from './config.ts'
import { shimFolder } from './runtimes.ts'
import type { ServiceUser } from './service-user.ts'

/** The machine's own cache: what root builds serves every platform on it, and no platform can write what root reads. */
const rootCache = '/var/cache/hearth'

/** Where this user keeps kernels and runtime images; `configured` comes first. */
export function cacheFolder(configured: string, env: Readonly<Record<string, string | undefined>>): string {
  if (configured !== '') return configured
  if (process.getuid?.() === 0) return rootCache
  const base = env['XDG_CACHE_HOME'] ?? path.join(env['HOME'] ?? os.homedir(), '.cache')
  return path.join(base, 'hearth')
}

/** The cache of a platform, made when absent: below its data folder where the user's own cannot be written, as for a service without a home.
 *  Throws invalid when the configured one cannot be made. */
export function makeCacheFolder(
  { cache, data }: Pick<Config, 'cache' | 'data'>,
  env: Readonly<Record<string, string | undefined>>,
): string {
  const folder = cacheFolder(cache, env)
  try {
    mkdirSync(folder, { recursive: true, mode: 0o755 })
    accessSync(folder, constants.W_OK)
    return folder
  } catch (cause) {
    if (cache === '') return path.join(data, 'cache')
    const why = cause instanceof Error ? cause.message : String(cause)
    const message = `Cannot use ${cache} as the cache folder: ${why}.`
    throw new AppError('invalid', message, { field: 'cache', value: cache, cause })
  }
}

/** What platforms themselves write to the cache of their machine: what failed on it, and what builds of every project may start from. */
const serviceFolders = ['verdicts', 'builds'] as const

export function serviceFolder(cache: string, name: (typeof serviceFolders)[number]): string {
  return path.join(cache, name)
}

/** Made by root for platforms that give up root; others make their own. Below a data folder, which is the platform's, root makes nothing. */
export function makeServiceFolders({ cache, data }: Pick<Config, 'cache' | 'data'>, { uid, gid }: ServiceUser): void {
  if (cache.startsWith(`${data}/`)) return
  for (const name of serviceFolders)
    try {
      mkdirSync(serviceFolder(cache, name), { mode: 0o700 })
      lchownSync(serviceFolder(cache, name), uid, gid)
    } catch {
      // There already, or not to be made: then each start tries what is slow to fail, and each build compiles anew.
    }
}

/** The cache that a command works on, and the kernel it takes: as a platform started here would. */
export function machineStore({ env, cwd }: Pick<Context, 'env' | 'cwd'>): {
  folder: string
  kernelFile: string | null
} {
  const { cache, kernel } = readConfig({ flags: {}, env, cwd, file: env['HEARTH_CONFIG'] })
  return { folder: cacheFolder(cache, env), kernelFile: kernel === '' ? null : kernel }
}

export function cacheOf(context: Pick<Context, 'env' | 'cwd'>): string {
  return machineStore(context).folder
}

/** The store of a platform. One that gave up its privileges builds in its data folder and reads what root built; any other shares its user's cache.
 *  `config.cache` is what `makeCacheFolder` gave when the platform started. */
export function platformImages(
  { data, cache, kernel }: Pick<Config, 'data' | 'cache' | 'kernel'>,
  { hasServiceUser, logger }: { hasServiceUser: boolean; logger: Logger },
): ImageStore {
  const own = path.join(data, 'images')
  return openImageStore({
    folder: hasServiceUser ? own : cache,
    shared: hasServiceUser ? [cache] : [],
    codeFolder: path.join(own, 'code'),
    kernelFile: kernel === '' ? null : kernel,
    shimFolder,
    guestProgram,
    logger,
  })
}
