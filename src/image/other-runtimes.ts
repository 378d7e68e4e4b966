import type { Toolchain } from '../domain/build.ts'
import { runtimeIds, type OtherRuntime, type RuntimeBuild } from '../domain/runtime.ts'

/* Runtimes that are no interpreter: what brings its own program, and what is built here. */

/** `go1.26` for each compiler of that line on this machine. */
export function linesOf(toolchains: readonly Toolchain[]): string[] {
  const lines = toolchains.map(({ language, version }) => `${language}${/^\d+\.\d+/.exec(version)?.[0] ?? ''}`)
  return [...new Set(lines)]
}

export function otherRuntimes(builds: readonly RuntimeBuild[], toolchains: readonly Toolchain[]): OtherRuntime[] {
  const canRun = builds.some(({ family }) => family === 'provided')
  const here = (language: Toolchain['language']): string[] =>
    linesOf(toolchains.filter((each) => each.language === language))
  const server = { needs: 'nothing', isHere: canRun, versions: [] }
  return [
    { id: 'http', about: 'a web server in one program', ...server },
    { id: 'image', about: "a container's image (--image)", ...server },
    {
      id: 'go',
      about: 'a handler or program in Go',
      needs: 'Go, to build a source; a built program nothing',
      isHere: canRun && here('go').length > 0,
      // Any Go fetches the others.
      versions:
        here('go').length === 0 ? [] : [...new Set([...here('go'), ...runtimeIds.filter(isGoLine).toReversed()])],
    },
    {
      id: 'rust',
      about: 'a handler or program in Rust',
      needs: 'Rust, to build a source; a built program nothing',
      isHere: canRun && here('rust').length > 0,
      versions: here('rust'),
    },
  ]
}

const isGoLine = (id: string): boolean => /^go1\./.test(id)
