import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { AppError } from '../../domain/error.ts'

/** `network_overrides` came with 1.12. `vsock_override`, of 1.16, is not needed: a clone's socket has the same name in its own jail. */
const needed = [1, 12] as const

/** Asks the program for its version, e.g. `1.13.1`. Throws driver_failed: it cannot be run, says none, or is too old. */
export async function firecrackerVersion(program: string): Promise<string> {
  const { stdout } = await promisify(execFile)(program, ['--version'], { timeout: 10_000 }).catch((cause: unknown) => {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new AppError('driver_failed', `Cannot run ${program}: ${why}`)
  })
  const version = /Firecracker v(\d+\.\d+\.\d+)/.exec(stdout)?.[1]
  if (version === undefined) throw new AppError('driver_failed', `${program} does not say which version it is.`)
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major < needed[0] || (major === needed[0] && minor < needed[1]))
    throw new AppError(
      'driver_failed',
      `Firecracker ${version} is too old: microVMs need ${needed.join('.')} or newer.`,
    )
  return version
}
