import { mkdirSync } from 'node:fs'
import path from 'node:path'
import type { Context } from '../cli/context.ts'
import { formatBytes, type Output } from '../cli/output.ts'
import type { KernelProfile } from '../domain/image.ts'
import { buildKernel } from '../image/kernel/build-kernel.ts'
import { useKernel, type ShelvedKernel } from '../image/kernel/kernel-shelf.ts'
import { importKernel, resolveDebianKernel } from '../image/kernel/resolve-kernel.ts'
import { ImageThread } from '../image/image-thread.ts'
import { guestProgram } from './app.ts'
import { cacheOf } from './images.ts'
import { progressLine } from './progress-line.ts'
import { ensureServiceUser } from './service-user.ts'

/** `hearth kernel build`. */
export async function buildKernelHere(
  context: Context,
  { profile, timeLimitS }: { profile: KernelProfile; timeLimitS: number },
): Promise<number> {
  const { output } = context
  const folder = cacheOf(context)
  mkdirSync(folder, { recursive: true, mode: 0o755 })
  const builder = process.getuid?.() === 0 ? ensureServiceUser() : null
  const startedMs = performance.now()
  const report = progressLine(output, `kernel (${profile})`)
  const timeLimitMs = timeLimitS * 1000
  const build = buildKernel({ profile, folder, builder, timeLimitMs, report, signal: context.interrupt() })
  const kernel = await build.finally(() => output.status(''))
  show(context, kernel, Math.round((performance.now() - startedMs) / 1000))
  return 0
}

/** `hearth kernel use`: a file, or `debian`. */
export async function useKernelHere(context: Context, file: string): Promise<number> {
  const { output, cwd } = context
  const folder = cacheOf(context)
  mkdirSync(folder, { recursive: true, mode: 0o755 })
  const kernel =
    file === 'debian'
      ? await fetchDebianKernel(folder, output).finally(() => output.status(''))
      : await importKernel(path.resolve(cwd, file), folder)
  useKernel(folder, kernel)
  show(context, kernel, null)
  return 0
}

async function fetchDebianKernel(folder: string, output: Output): Promise<ShelvedKernel> {
  const thread = new ImageThread()
  try {
    return await resolveDebianKernel({ folder, shared: [], guestProgram, thread }, progressLine(output, 'kernel'))
  } finally {
    await thread.close()
  }
}

function show({ output }: Context, kernel: ShelvedKernel, seconds: number | null): void {
  if (output.isJson) return output.json({ ...kernel, buildSeconds: seconds })
  const took = seconds === null ? '' : ` in ${seconds} s`
  output.line(`microVMs boot Linux ${kernel.release} (${formatBytes(kernel.bytes)}) from now on${took}.`)
  output.line(`kernel  ${kernel.vmlinux}`)
  output.line(`from    ${kernel.origin}`)
}
