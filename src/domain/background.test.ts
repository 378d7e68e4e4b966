import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import os from 'node:os'
import test from 'node:test'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'

test('stepBack lowers the rank of its own thread and of no other', { skip: skipReason() }, async () => {
  const before = os.getPriority()
  const code = `
    import { readFileSync } from 'node:fs'
    import { parentPort } from 'node:worker_threads'
    import { stepBack } from ${JSON.stringify(new URL('./background.ts', import.meta.url).href)}
    stepBack()
    parentPort.postMessage(Number(readFileSync('/proc/thread-self/stat', 'utf8').split(') ')[1].split(' ')[16]))`
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`))
  const [nice] = (await once(worker, 'message')) as [number]
  await worker.terminate()
  assert.deepEqual({ worker: nice, loop: os.getPriority() }, { worker: before + 5, loop: before })
})

test('stepBack goes no further than the last rank', { skip: skipReason() }, async () => {
  const code = `
    import os from 'node:os'
    import { stepBack } from ${JSON.stringify(new URL('./background.ts', import.meta.url).href)}
    os.setPriority(17)
    stepBack()
    process.stdout.write(String(os.getPriority()))`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', code])
  assert.equal(stdout, '19')
})

function skipReason(): string | false {
  return process.platform === 'linux' ? false : 'threads have no rank of their own here'
}
