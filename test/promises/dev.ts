import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { median, percentile, type Row } from './measure.ts'
import { withPlatform } from './subject.ts'

const saves = 20
const program = path.resolve(import.meta.dirname, '../../bin/hearth')

/** `hearth dev`: from the save of a file to the line that says it is deployed. */
export default async function dev(folder: string): Promise<Row[]> {
  return withPlatform(folder, {}, async ({ url, apiKey }) => {
    const code = path.join(folder, 'saved')
    mkdirSync(code)
    const save = (n: number): void =>
      writeFileSync(path.join(code, 'index.js'), `exports.handler = async () => 'save ${n}'\n`)
    save(1)
    const env = { ...process.env, HEARTH_URL: url, HEARTH_API_KEY: apiKey }
    const child = spawn(program, ['dev', code], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    const told = linesOf(child)
    try {
      await told(1)
      const samples: number[] = []
      for (let version = 2; version < saves + 2; version++) {
        // Saves of a person do not come in the moment in which the last was deployed.
        await new Promise((resolve) => setTimeout(resolve, 500))
        const savedAt = performance.now()
        save(version)
        samples.push((await told(version)) - savedAt)
      }
      return [
        {
          promise: 'dev',
          subject: 'hearth dev: from the save to deployed, Node, p50',
          value: median(samples),
          unit: 'ms',
          limit: null,
          bound: { op: '<=', value: 1_000 },
          note: `${saves} saves, a version each, of a folder with one file; p90 ${percentile(samples, 0.9).toFixed(0)} ms`,
          samples: { saves: samples },
        },
      ]
    } finally {
      if (!hasEnded(child)) {
        child.kill('SIGINT')
        await once(child, 'exit')
      }
    }
  })
}

function hasEnded({ exitCode, signalCode }: ChildProcessByStdio<null, Readable, Readable>): boolean {
  return exitCode !== null || signalCode !== null
}

/** Resolves with the time at which the program said that a version is deployed. */
function linesOf(child: ChildProcessByStdio<null, Readable, Readable>): (version: number) => Promise<number> {
  let text = ''
  let wake = (): void => {}
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      wake()
    })
  child.once('exit', () => wake())
  return async (version) => {
    while (!text.includes(`version ${version} in`)) {
      if (hasEnded(child)) throw new Error(`hearth dev ended:\n${text}`)
      await new Promise<void>((resolve) => (wake = resolve))
    }
    return performance.now()
  }
}
