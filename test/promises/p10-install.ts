import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import type { Row } from './measure.ts'

const root = path.resolve(import.meta.dirname, '../..')

/** P10: a fresh clone and `npm start` until the first answer is printed; downloads go through the machine's own package caches. */
export default async function p10Install(folder: string): Promise<Row[]> {
  const clone = path.join(folder, 'hearth')
  execFileSync('git', ['clone', '--quiet', root, clone])
  const startedAt = performance.now()
  const child = spawn('npm', ['start'], {
    cwd: clone,
    env: { ...process.env, HEARTH_PORT: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  let text = ''
  const answered = new Promise<number>((resolve, reject) => {
    const read = (chunk: Buffer): void => {
      text += chunk.toString()
      if (/thumbnail/i.test(text) && /succeeded/.test(text)) resolve(performance.now() - startedAt)
    }
    child.stdout.on('data', read)
    child.stderr.on('data', read)
    child.once('exit', (code) =>
      reject(new Error(`npm start ended with ${code} before an answer:\n${text.slice(-2000)}`)),
    )
  })
  const ms = await answered
  child.removeAllListeners('exit')
  process.kill(-(child.pid ?? 0), 'SIGTERM')
  await once(child, 'close')
  return [
    {
      promise: 'P10',
      subject: 'fresh clone, two commands, to the first answer',
      value: ms / 1000,
      unit: 's',
      limit: null,
      bound: { op: '<=', value: 180 },
      note: 'npm packages, crates and Pillow downloaded in this time; toolchains present',
    },
  ]
}
