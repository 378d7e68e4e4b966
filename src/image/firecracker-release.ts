import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, open, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { EnvHttpProxyAgent, fetch, type Response } from 'undici'
import { AppError } from '../domain/error.ts'
import type { ReportProgress } from '../domain/image.ts'

/** A release as its project publishes it. */
export interface FirecrackerRelease {
  readonly version: string
  /** As in the archive's name. */
  readonly arch: 'x86_64' | 'aarch64'
  /** Of the archive, in hexadecimal. */
  readonly sha256: string
}

/** Digests of the archives as the release's own `.sha256.txt` files have them. The drivers want 1.12 or newer. */
const pinned: readonly FirecrackerRelease[] = [
  {
    ...{ version: '1.17.0', arch: 'x86_64' },
    sha256: '06094a1108ae9e82aa4c23a775aa92758f53f1175d422270d9d6162cb9ade558',
  },
  {
    ...{ version: '1.17.0', arch: 'aarch64' },
    sha256: 'e351ebe4f7a16b5873bbd51005d2e6767103cff4d5ebc829df2d3f95a93e2256',
  },
]

export const releaseMirror = 'https://github.com/firecracker-microvm/firecracker/releases/download'

export interface FirecrackerPrograms {
  readonly firecracker: string
  readonly jailer: string
}

/** An archive is some 10 MB; what is larger is something else. */
const archiveBytesMax = 256 * 1024 * 1024
const silentMsMax = 30_000
const programs = ['firecracker', 'jailer'] as const

/** The release that Hearth is tested against; null for processors that Firecracker has none for. */
export function pinnedRelease(arch: string = process.arch): FirecrackerRelease | null {
  const names: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64' }
  return pinned.find((each) => each.arch === names[arch]) ?? null
}

/** Where `installFirecracker` has put, or will put, the programs. */
export function installedFirecracker(folder: string, { version, arch }: FirecrackerRelease): FirecrackerPrograms {
  const own = path.join(folder, `firecracker-${version}-${arch}`)
  return { firecracker: path.join(own, 'firecracker'), jailer: path.join(own, 'jailer') }
}

/** Downloads `release` below `mirror` into `folder`, checks it and unpacks its two programs; they appear by rename, together. One that is there costs nothing;
 *  one that broke off is continued.
 *  Throws driver_failed: the mirror cannot be reached or breaks off (retryable), the archive is not the pinned one, or holds no such programs. */
export async function installFirecracker(
  folder: string,
  { release, mirror, report }: { release: FirecrackerRelease; mirror: string; report: ReportProgress },
): Promise<FirecrackerPrograms> {
  const target = installedFirecracker(folder, release)
  if (existsSync(target.firecracker) && existsSync(target.jailer)) return target
  await mkdir(path.join(folder, 'tmp'), { recursive: true, mode: 0o755 })
  const { version, arch, sha256 } = release
  const name = `firecracker-v${version}-${arch}.tgz`
  const part = path.join(folder, 'tmp', `${name}.part`)
  await download(`${mirror.replace(/\/+$/, '')}/v${version}/${name}`, { part, release, report })
  const digest = await digestOf(part)
  if (digest !== sha256) {
    await rm(part, { force: true })
    throw new AppError(
      'driver_failed',
      `Refused ${name} from ${mirror}: its SHA-256 is ${digest}, the release's is ${sha256}. Nothing was installed.`,
    )
  }
  await unpack(part, path.dirname(target.firecracker), { folder, release })
  await rm(part, { force: true })
  return target
}

/** The whole archive in `part`, continued where an earlier attempt broke off. */
async function download(
  url: string,
  { part, release, report }: { part: string; release: FirecrackerRelease; report: ReportProgress },
): Promise<void> {
  const have = (await stat(part).catch(() => null))?.size ?? 0
  const dispatcher = new EnvHttpProxyAgent({ headersTimeout: silentMsMax, bodyTimeout: silentMsMax })
  try {
    const headers = have === 0 ? {} : { range: `bytes=${have}-` }
    const reply = await fetch(url, { dispatcher, headers })
    // What is there may be all of it already, or not of this archive: its digest decides.
    if (reply.status === 416) return
    if (reply.status !== 200 && reply.status !== 206) throw new Error(`the server answers ${reply.status}`)
    await save(reply, part, { from: reply.status === 206 ? have : 0, report })
  } catch (cause) {
    const why = reasonOf(cause)
    throw new AppError('driver_failed', `Cannot download Firecracker ${release.version} from ${url}: ${why}.`, {
      cause,
      retryable: true,
      detail: `Run it again to continue, name another server with --mirror, or put firecracker and jailer on the PATH. The archive's SHA-256 is ${release.sha256}.`,
    })
  } finally {
    await dispatcher.destroy()
  }
}

async function save(
  { body, headers }: Response,
  part: string,
  { from, report }: { from: number; report: ReportProgress },
): Promise<void> {
  if (body === null) throw new Error('the answer is empty')
  const length = Number(headers.get('content-length') ?? 0)
  const total = from + length
  const file = await open(part, from === 0 ? 'w' : 'r+', 0o644)
  try {
    let at = from
    for await (const chunk of body) {
      if (!(chunk instanceof Uint8Array)) throw new Error('the answer is no bytes')
      if (at + chunk.length > archiveBytesMax) throw new Error(`it is larger than ${archiveBytesMax} bytes`)
      await file.write(chunk, 0, chunk.length, at)
      at += chunk.length
      report('downloading', total > from ? at / total : undefined)
    }
    if (length > 0 && at < total) throw new Error(`it ended after ${at} of ${total} bytes`)
    await file.truncate(at)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function unpack(
  archive: string,
  target: string,
  { folder, release }: { folder: string; release: FirecrackerRelease },
): Promise<void> {
  const { version, arch } = release
  const draft = await mkdtemp(path.join(folder, 'tmp', 'unpack-'))
  try {
    const members = programs.map((name) => `release-v${version}-${arch}/${name}-v${version}-${arch}`)
    const options = ['--no-same-owner', '--no-same-permissions', '--strip-components=1']
    await promisify(execFile)('tar', ['-xzf', archive, '-C', draft, ...options, ...members])
    for (const name of programs) {
      const own = path.join(draft, name)
      await rename(path.join(draft, `${name}-v${version}-${arch}`), own)
      await chmod(own, 0o755)
    }
    await chmod(draft, 0o755)
    await rm(target, { recursive: true, force: true })
    await rename(draft, target)
  } catch (cause) {
    await rm(draft, { recursive: true, force: true })
    throw new AppError('driver_failed', `Cannot unpack Firecracker ${version}: ${reasonOf(cause)}.`, { cause })
  }
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

/** The innermost cause, which names the host or the errno. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? reasonOf(error.cause) : error.message.trim().replace(/\.$/, '')
}
