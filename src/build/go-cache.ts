import type { CacheRule, PlanOptions, SharedPart, Step } from './plan.ts'

/** What was compiled, and the archives of modules. Whether it fits is told by digests of all that went into it, and by go.sum. */
export const goCache: CacheRule = {
  folders: ['go-cache', 'go/pkg/mod/cache/download'],
  keep: String.raw`^(go-cache/[0-9a-f]{2}/|go/pkg/mod/cache/download/)`,
  omit: String.raw`(\.lock|/lock)$`,
}

/** Beside what the shim imports; all of them are in Go 1.21. */
const basePackages = ['bytes', 'crypto/sha256', 'encoding/base64', 'log', 'net/url', 'regexp', 'sort', 'strconv']
const webPackages = ['net/http', 'compress/gzip', 'crypto/hmac', 'encoding/xml', 'log/slog', 'mime/multipart']

/** The standard library in two parts: what every handler needs, and what comes with net/http where the source, or a module that it requires, may import it.
 *  None where go.mod may have another toolchain fetched: what this one compiled would not fit that. */
export function standardLibrary({ source, shim, version }: PlanOptions, build: Step): SharedPart[] {
  const mod = source.get('go.mod') ?? ''
  const wanted = /^(?:toolchain go|go )(\d+\.\d+\S*)/gm
  if ([...mod.matchAll(wanted)].some(([, line = '']) => isNewer(line, version))) return []
  const part = (title: string, packages: readonly string[]): SharedPart => ({
    title,
    files: new Map([
      ['go.mod', 'module standard\n\ngo 1.21\n'],
      ['main.go', mainText(packages)],
    ]),
    steps: [build],
  })
  const isWeb = /^\s*require\b/m.test(mod) || [...source.values()].some((text) => text.includes('"net/http'))
  return [
    part("Go's standard library", [...new Set([...basePackages, ...importsOf(shim)])].toSorted()),
    ...(isWeb ? [part("Go's standard library with net/http", webPackages)] : []),
  ]
}

function mainText(packages: readonly string[]): string {
  return `package main\n\nimport (\n${packages.map((name) => `\t_ "${name}"\n`).join('')})\n\nfunc main() {}\n`
}

/** The shim imports nothing but the standard library. */
function importsOf(shim: PlanOptions['shim']): string[] {
  const blocks = [...shim.values()].flatMap((text) => [...text.matchAll(/^import (?:\(([^)]*)\)|(".*"))$/gm)])
  return blocks.flatMap(([block]) => [...block.matchAll(/"([a-z0-9/]+)"/g)].map(([, name = '']) => name))
}

function isNewer(line: string, than: string): boolean {
  return line.localeCompare(than, 'en', { numeric: true }) > 0
}
