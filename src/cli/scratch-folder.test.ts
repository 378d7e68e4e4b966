import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, utimes } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'

const opening = `import { openScratchFolder } from ${JSON.stringify(path.join(import.meta.dirname, 'scratch-folder.ts'))}`
const script = `${opening}
const { folder } = await openScratchFolder()
console.log(folder)
setInterval(() => {}, 1000)
`
const scriptOfThree = `${opening}
const folders = [await openScratchFolder(), await openScratchFolder(), await openScratchFolder()]
await folders[0].dispose()
console.log(folders.map(({ folder }) => folder).join(' '))
setInterval(() => {}, 1000)
`

test('openScratchFolder: gone with the process that a signal ends, which ends by that signal; what a dead one left goes too', async () => {
  const top = await mkdtemp(path.join(os.tmpdir(), 'hearth-scratch-'))
  try {
    const pidOfNone = 4_194_303
    for (const [name, days] of [
      [`hearth-code-${pidOfNone}-old`, 1],
      [`hearth-code-${pidOfNone}-new`, 0],
      [`hearth-code-${process.pid}-old`, 1],
    ] as const) {
      await mkdir(path.join(top, name))
      const time = Date.now() / 1000 - days * 86_400
      await utimes(path.join(top, name), time, time)
    }
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
        env: { ...process.env, TMPDIR: top },
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const [text] = (await once(child.stdout, 'data')) as [Buffer]
      const folder = text.toString().trim()
      assert.ok(existsSync(folder), folder)
      child.kill(signal)
      const [, by] = (await once(child, 'exit')) as [number | null, string | null]
      assert.equal(by, signal)
      assert.equal(existsSync(folder), false)
    }
    assert.deepEqual(
      (await readdir(top)).sort(),
      [`hearth-code-${process.pid}-old`, `hearth-code-${pidOfNone}-new`].sort(),
    )
  } finally {
    await rm(top, { recursive: true, force: true })
  }
})

test('openScratchFolder: several at once are gone with the process that a signal ends, and one that is disposed takes no other along', async () => {
  const top = await mkdtemp(path.join(os.tmpdir(), 'hearth-scratch-'))
  const child = spawn(process.execPath, ['--input-type=module', '-e', scriptOfThree], {
    env: { ...process.env, TMPDIR: top },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    const [text] = (await once(child.stdout, 'data')) as [Buffer]
    assert.deepEqual(text.toString().trim().split(' ').map(existsSync), [false, true, true])
    child.kill('SIGINT')
    const [, by] = (await once(child, 'exit', { signal: AbortSignal.timeout(10_000) })) as [
      number | null,
      string | null,
    ]
    assert.equal(by, 'SIGINT')
    assert.deepEqual(await readdir(top), [])
  } finally {
    child.kill('SIGKILL')
    await rm(top, { recursive: true, force: true })
  }
})
