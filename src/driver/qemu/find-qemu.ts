import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { AppError } from '../../domain/error.ts'

/** What decides QEMU's argument list on this host. */
export interface QemuFacts {
  /** As QEMU prints it, e.g. `7.2.22`. */
  readonly version: string
  /** Of the host's time stamp counter, in kHz. */
  readonly tscKhz: number
}

/** `-M microvm` came with 4.2; the options used here are of 7.0. */
const majorMin = 7

/** Asks the program for its version. Throws driver_failed: it cannot be run, says none, or is too old. */
export async function qemuFacts(program: string): Promise<QemuFacts> {
  const { stdout } = await promisify(execFile)(program, ['--version'], { timeout: 10_000 }).catch((cause: unknown) => {
    throw new AppError(
      'driver_failed',
      `Cannot run ${program}: ${cause instanceof Error ? cause.message : String(cause)}`,
    )
  })
  const version = /version (\d+\.\d+(?:\.\d+)?)/.exec(stdout)?.[1]
  if (version === undefined) throw new AppError('driver_failed', `${program} does not say which version of QEMU it is.`)
  if (Number(version.split('.')[0]) < majorMin)
    throw new AppError('driver_failed', `QEMU ${version} is too old: microVMs need ${majorMin}.0 or newer.`)
  return { version, tscKhz: tscKhz() }
}

/** The kernel's own figure; without it a guest under emulation would have to measure, which fails on a busy host. */
export function tscKhz(): number {
  const mhz = /^cpu MHz\s*:\s*([\d.]+)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]
  return mhz === undefined ? 1_000_000 : Math.round(Number(mhz) * 1_000)
}
