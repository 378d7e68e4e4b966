import { spawn, type ChildProcess } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { body200, handlerFolder, handlers, invokeHeaders, type Language } from './subject.ts'
import type { Platform } from '../support/platform.ts'

interface Build {
  readonly version: string
  readonly family: string
  readonly executable: string
}

/** The interpreter that `platform` runs the function `name` on. Throws when it is not among the runtimes of the node. */
export async function executableOf(platform: Platform, name: string, language: Language): Promise<string> {
  const { runtimeVersion } = await get<{ runtimeVersion: string }>(platform, `functions/${name}`)
  return executable(platform, ({ family, version }) => family === language && version === runtimeVersion)
}

/** Some Python of the node, to run the spawner. */
export async function anyPython(platform: Platform): Promise<string> {
  return executable(platform, ({ family }) => family === 'python')
}

async function executable(platform: Platform, isWanted: (build: Build) => boolean): Promise<string> {
  const { items } = await get<{ items: Build[] }>(platform, 'runtimes')
  const build = items.find(isWanted)
  if (build === undefined) throw new Error('The interpreter of the bench is not among the runtimes of this node.')
  return build.executable
}

async function get<T>(platform: Platform, path: string): Promise<T> {
  const reply = await fetch(`${platform.url}/v1/${path}`, { headers: invokeHeaders(platform) })
  return (await reply.json()) as T
}

/** Programs that do what must be done and nothing else: load the handler, read the event, call, answer. */
export interface BarePrograms {
  /** Interpreter start, handler and answer. */
  readonly spawned: readonly string[]
  /** Says when it is up, then waits for the event before it loads the handler. */
  readonly booted: readonly string[]
}

/** Written into `folder` for `executable`, started with the flags that the platform starts it with. */
export async function barePrograms(folder: string, language: Language, executable: string): Promise<BarePrograms> {
  const file = path.join(await handlerFolder(folder, language), handlers[language].file)
  const source = language === 'node' ? nodeSource : pythonSource
  const of = { language, executable }
  return {
    spawned: await writeProgram(folder, { ...of, kind: 'spawned', source: source(file, false) }),
    booted: await writeProgram(folder, { ...of, kind: 'booted', source: source(file, true) }),
  }
}

/** Loads the handler, says so and does nothing more. */
export async function idleProgram(folder: string, language: Language, executable: string): Promise<string[]> {
  const code = path.join(await handlerFolder(folder, language), handlers[language].file)
  const node = `require(${JSON.stringify(code)})\nrequire('node:fs').writeSync(1, 'up')\nsetInterval(() => {}, 1e9)\n`
  const python = `import os, sys, time\nimport json\nsys.path.insert(0, ${JSON.stringify(path.dirname(code))})\nimport main\nos.write(1, b'up')\ntime.sleep(1e6)\n`
  return writeProgram(folder, { kind: 'idle', language, executable, source: language === 'node' ? node : python })
}

async function writeProgram(
  folder: string,
  of: { kind: string; language: Language; executable: string; source: string },
): Promise<string[]> {
  const home = path.join(folder, 'bare')
  await mkdir(home, { recursive: true })
  const file = path.join(home, `${of.kind}.${of.language === 'node' ? 'cjs' : 'py'}`)
  await writeFile(file, of.source)
  return [of.executable, ...(of.language === 'node' ? [] : ['-I', '-S']), file]
}

function nodeSource(file: string, isBooted: boolean): string {
  return `const fs = require('node:fs')
${isBooted ? "fs.writeSync(1, 'up')" : ''}
const buffer = Buffer.alloc(4096)
const event = buffer.toString('utf8', 0, fs.readSync(0, buffer))
const { handler } = require(${JSON.stringify(file)})
handler(JSON.parse(event)).then((result) => fs.writeSync(1, JSON.stringify(result)))
`
}

function pythonSource(file: string, isBooted: boolean): string {
  return `import os, sys
${isBooted ? "os.write(1, b'up')" : ''}
import json
event = os.read(0, 4096)
sys.path.insert(0, ${JSON.stringify(path.dirname(file))})
from main import handler
os.write(1, json.dumps(handler(json.loads(event), None)).encode())
`
}

/** Times programs from a process of its own; see spawner.py. */
export class Spawner {
  readonly #child: ChildProcess
  readonly #replies: AsyncIterator<string>
  readonly #lines: Interface

  constructor(python: string) {
    const child = spawn(python, ['-I', '-S', path.join(import.meta.dirname, 'spawner.py')], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#child = child
    this.#lines = createInterface({ input: child.stdout })
    this.#replies = this.#lines[Symbol.asyncIterator]()
  }

  /** Milliseconds from the start of `argv` (`isBooted`: from its event) to its answer. */
  async time(argv: readonly string[], isBooted: boolean): Promise<number> {
    this.#child.stdin?.write(`${JSON.stringify({ argv, input: body200, isBooted })}\n`)
    const { value, done } = await this.#replies.next()
    if (done === true) throw new Error(`The spawner ended while it ran ${argv.join(' ')}.`)
    return (JSON.parse(value) as { ms: number }).ms
  }

  close(): void {
    this.#lines.close()
    this.#child.kill('SIGKILL')
  }
}
