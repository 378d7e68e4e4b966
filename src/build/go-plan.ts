import { invalid } from '../domain/error.ts'
import { goCache, standardLibrary } from './go-cache.ts'
import { outFolder, type Plan, type PlanOptions, type Source, type Step } from './plan.ts'
import { posix } from 'node:path'

/** Last release of each line that the module proxy has, for `go1.N` where the machine's own Go is another. Source: go.dev/doc/devel/release. */
const releases: Readonly<Record<string, string>> = {
  '1.21': '1.21.13',
  '1.22': '1.22.12',
  '1.23': '1.23.12',
  '1.24': '1.24.5',
  '1.25': '1.25.1',
}
const shimModule = 'hearth.dev/runtime'
const lambdaContext = 'github.com/aws/aws-lambda-go/lambdacontext'

/** How a Go source becomes a program: its own `main` as it is; a handler by a main of ours. Throws invalid for a handler that is not there. */
export function goPlan(options: PlanOptions): Plan {
  const { source, handler, target } = options
  const { folder, name } = splitHandler(handler)
  const code = packageFiles(source, folder)
  if (code.length === 0)
    throw invalid(
      'handler',
      handler,
      `main.FUNCTION or FOLDER.FUNCTION with .go files there; ${folder === '.' ? 'the top folder' : folder} has none`,
    )
  const files = new Map<string, string>()
  if (!source.has('go.mod')) files.set('go.mod', 'module handler\n\ngo 1.21\n')
  const module = /^module\s+"?([^\s"]+)"?/m.exec(source.get('go.mod') ?? 'module handler')?.[1] ?? 'handler'
  const packageName = /^package\s+(\w+)/m.exec(code[0] ?? '')?.[1] ?? 'main'
  const hasMain = packageName === 'main' && code.some((text) => /^func main\(\s*\)/m.test(text))
  // The program itself says what compiled it: go.mod may have asked for another Go than the machine's.
  const version = { title: 'go version', argv: ['go', 'version', program], isVersion: true }
  const shared = standardLibrary(options, build('.'))
  const common = { env: goEnv(options, target.goarch), output: program, cache: goCache, shared, lasting: [] }
  if (hasMain) return { ...common, files, steps: [build(`./${folder}`), version], isNative: false }
  if (!code.some((text) => new RegExp(`^(func\\s+${name}\\s*[([]|var\\s+${name}\\b)`, 'm').test(text)))
    throw invalid('handler', handler, `a function of package ${packageName}; it has no "func ${name}"`)
  const importsShim = [...source.values()].some((text) => text.includes(`"${shimModule}"`))
  const shimFolder = importsShim ? 'hearth_runtime' : 'internal/hearthruntime'
  const shimPath = importsShim ? shimModule : `${module}/${shimFolder}`
  for (const [file, text] of options.shim)
    if (importsShim || file !== 'go.mod') files.set(`${shimFolder}/${file}`, text)
  const hasContext = [...source.values()].some((text) => text.includes(`"${lambdaContext}"`))
  const isMain = packageName === 'main'
  const place = isMain ? folder : 'internal/hearthmain'
  const importedPath = folder === '.' ? module : `${module}/${folder}`
  files.set(
    posix.join(place, 'hearth_main.go'),
    mainText({ shimPath, hasContext, name, imported: isMain ? null : importedPath }),
  )
  const edit = ['go', 'mod', 'edit', `-require=${shimModule}@v0.0.0`, `-replace=${shimModule}=./${shimFolder}`]
  const steps = importsShim ? [{ title: 'go mod edit', argv: edit }] : []
  return { ...common, files, steps: [...steps, build(`./${place}`), version], isNative: true }
}

const program = `${outFolder}/program`

function build(what: string): Step {
  const flags = ['-trimpath', '-buildvcs=false', '-ldflags=-s -w -buildid=']
  return { title: 'go build', argv: ['go', 'build', ...flags, '-o', program, what] }
}

/** `main.Handler` is in the top folder, `api/hello.Handler` in api/hello. */
function splitHandler(handler: string): { folder: string; name: string } {
  const [, where, name] =
    /^([A-Za-z0-9_][A-Za-z0-9_/-]*)\.([A-Za-z_]\w*)$/.exec(handler === '' ? 'main.Handler' : handler) ?? []
  if (where === undefined || name === undefined)
    throw invalid('handler', handler, 'main.FUNCTION or FOLDER.FUNCTION, e.g. main.Handler')
  return { folder: where === 'main' ? '.' : posix.normalize(where), name }
}

function packageFiles(source: Source, folder: string): string[] {
  return [...source]
    .filter(([name]) => posix.dirname(name) === folder && name.endsWith('.go') && !name.endsWith('_test.go'))
    .map(([, text]) => text)
}

interface MainOptions {
  readonly shimPath: string
  readonly hasContext: boolean
  readonly name: string
  /** Package that holds the handler; null when it is this one. */
  readonly imported: string | null
}

function mainText({ shimPath, hasContext, name, imported }: MainOptions): string {
  const imports = [
    ...(hasContext ? ['"context"', `"${lambdaContext}"`] : []),
    `hearth "${shimPath}"`,
    ...(imported === null ? [] : [`user "${imported}"`]),
  ]
  const decorate = `	hearth.DecorateContext = func(ctx context.Context, about *hearth.Context) context.Context {
		return lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{AwsRequestID: about.RequestID, InvokedFunctionArn: about.InvokedFunctionArn})
	}
`
  const call = imported === null ? name : `user.${name}`
  return `package main

import (
${imports.map((line) => `\t${line}\n`).join('')})

func main() {
${hasContext ? decorate : ''}	hearth.Start(${call})
}
`
}

function goEnv({ runtime, version }: PlanOptions, goarch: string): Record<string, string> {
  const wanted = /^go(1\.\d+)$/.exec(runtime)?.[1]
  const isLocal = wanted === undefined || version === wanted || version.startsWith(`${wanted}.`)
  const release = isLocal ? null : releases[wanted]
  if (release === undefined)
    throw invalid(
      'runtime',
      runtime,
      `go, go${version.split('.').slice(0, 2).join('.')}, ${Object.keys(releases)
        .map((line) => `go${line}`)
        .join(', ')}`,
    )
  return {
    // An exact line never becomes another because go.mod asks for it.
    GOTOOLCHAIN: release !== null ? `go${release}` : wanted === undefined ? 'auto' : 'local',
    GOPROXY: 'https://proxy.golang.org',
    GOVCS: '*:off',
    GOPATH: '/tmp/go',
    GOCACHE: '/tmp/go-cache',
    GOFLAGS: '-modcacherw',
    CGO_ENABLED: '0',
    GOOS: 'linux',
    GOARCH: goarch,
  }
}
