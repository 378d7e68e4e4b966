import { execFile, execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { AppError } from '../../domain/error.ts'

/** `-M microvm` came with 4.2; the options used here are of 7.0. */
const majorMin = 7

/** As QEMU prints it, e.g. `7.2.22`. Throws driver_failed: the program cannot be run, says none, or is too old. */
export async function qemuVersion(program: string): Promise<string> {
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
  return version
}

/** Of a measured counter: no guest's clock is off by more than 1 s a day for it, and the next start measures the same. */
const stepKhz = 50

/** Of the host's time stamp counter, which TCG hands through: a guest under emulation would have to measure it itself, which fails on a busy host.
 *  The kernel shows it, unless it knows what the processor runs at just now and shows that: then `guestProgram` measures it, in 30 ms. */
export function tscKhz(guestProgram: string, cpuinfo = readFileSync('/proc/cpuinfo', 'utf8')): number {
  const mhz = /^cpu MHz\s*:\s*([\d.]+)$/m.exec(cpuinfo)?.[1]
  const isSpeed = /^flags\s*:.*\baperfmperf\b/m.test(cpuinfo)
  if (mhz !== undefined && !isSpeed) return Math.round(Number(mhz) * 1_000)
  const khz = Number(execFileSync(guestProgram, ['tsc'], { encoding: 'utf8', timeout: 10_000 }))
  return Math.round(khz / stepKhz) * stepKhz
}
