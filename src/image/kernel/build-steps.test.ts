import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { BuildSteps } from './build-steps.ts'

const scratch = mkdtempSync(path.join(os.tmpdir(), 'hearth-steps-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

/** Starts a grandchild that writes down its pid and then sleeps for a minute. */
const endless = 'sleep 60 & echo $! > pid; wait'

async function grandchildIsGone(): Promise<boolean> {
  const pid = Number(readFileSync(path.join(scratch, 'pid'), 'utf8'))
  for (let tries = 0; tries < 50; tries++) {
    try {
      // A zombie still has its pid: only its state tells.
      if (/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) return true
    } catch {
      return true
    }
    await sleep(20)
  }
  return false
}

test('BuildSteps: hands over lines of both streams and fixes what would be in the kernel', async () => {
  const lines: string[] = []
  const steps = new BuildSteps({ builder: null, timeLimitMs: 10_000 })
  await steps.run('sh', ['-c', 'echo one; echo $KBUILD_BUILD_USER >&2; nice'], scratch, (line) => lines.push(line))
  assert.deepEqual(lines.sort(), ['19', 'hearth', 'one'])
})

test('BuildSteps: a failure has the last lines for the operator', async () => {
  const steps = new BuildSteps({ builder: null, timeLimitMs: 10_000 })
  await assert.rejects(steps.run('sh', ['-c', 'seq 40; echo broken >&2; exit 2'], scratch), (error: Error) => {
    assert.match(error.message, /^Cannot build the kernel: "sh -c seq/)
    assert.ok('detail' in error && typeof error.detail === 'string')
    assert.equal(error.detail.split('\n').length, 30)
    assert.match(error.detail, /broken/)
    return true
  })
})

test('BuildSteps: the time limit is for all steps together, and ends grandchildren too', async () => {
  const steps = new BuildSteps({ builder: null, timeLimitMs: 600 })
  await steps.run('true', [], scratch)
  const startedMs = performance.now()
  await assert.rejects(steps.run('sh', ['-c', endless], scratch), {
    code: 'timeout',
    message: /within 1 s\. Try again/,
  })
  assert.ok(performance.now() - startedMs < 30_000)
  assert.ok(await grandchildIsGone())
})

test('BuildSteps: an interrupt ends the step under way', async () => {
  const interrupt = new AbortController()
  const steps = new BuildSteps({ builder: null, timeLimitMs: 60_000, signal: interrupt.signal })
  const running = steps.run('sh', ['-c', `echo up; ${endless}`], scratch, () =>
    setTimeout(() => interrupt.abort(), 100),
  )
  await assert.rejects(running, { code: 'driver_failed', message: 'The kernel was not built: interrupted.' })
  assert.ok(await grandchildIsGone())
})

test('BuildSteps: as root, runs as the builder without its groups', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('needs root')
  const lines: string[] = []
  const steps = new BuildSteps({ builder: { uid: 64_198, gid: 64_198 }, timeLimitMs: 10_000 })
  await steps.run('sh', ['-c', 'id -u; id -G'], '/', (line) => lines.push(line))
  assert.deepEqual(lines, ['64198', '64198'])
})
