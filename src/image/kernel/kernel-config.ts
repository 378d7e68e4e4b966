import { AppError } from '../../domain/error.ts'
import type { KernelProfile } from '../../domain/image.ts'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'

/** The fragment of `profile`: what is appended to `make tinyconfig`. */
export function kernelConfig(profile: KernelProfile): string {
  return ['base', profile]
    .map((name) => readFileSync(path.join(import.meta.dirname, `${name}.config`), 'utf8'))
    .join('\n')
}

/** Refuses a configuration from which `make olddefconfig` dropped a line of `fragment`: a kernel without it would fail where nobody looks for the cause.
 *  A symbol that this Linux does not know any more, or not yet, is passed over. Throws driver_failed, naming the lines. */
export function checkKernelConfig(fragment: string, source: string): void {
  const made = new Set(readFileSync(path.join(source, '.config'), 'utf8').split('\n'))
  const isOff = (name: string): boolean => ![...made].some((line) => line.startsWith(`${name}=`))
  const lost = fragment.split('\n').filter((line) => {
    const off = /^# (CONFIG_\w+) is not set$/.exec(line)?.[1]
    if (off !== undefined) return !isOff(off)
    return line.startsWith('CONFIG_') && !made.has(line)
  })
  if (lost.length === 0) return
  const known = symbolsOf(source)
  const wrong = lost.filter((line) => known.has(/CONFIG_(\w+)/.exec(line)?.[1] ?? ''))
  if (wrong.length === 0) return
  throw new AppError(
    'driver_failed',
    `Cannot configure the kernel: its own configuration dropped ${wrong.map((line) => `"${line}"`).join(', ')}.`,
    { detail: source },
  )
}

/** Every symbol that some Kconfig file declares. */
function symbolsOf(source: string): Set<string> {
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /(^|\/)Kconfig[^/]*$/.test(name),
  )
  const texts = files.map((name) => readFileSync(path.join(source, name), 'utf8'))
  return new Set(
    texts.flatMap((text) => [...text.matchAll(/^\s*(?:menu)?config (\w+)/gm)].map(([, name]) => name ?? '')),
  )
}
