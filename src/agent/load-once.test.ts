import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { AgentRig, settle, versionOf } from '../../test/support/agent-rig.ts'

function rigFor(t: TestContext, options: Parameters<typeof AgentRig.fake> = []): AgentRig {
  const rig = AgentRig.fake(...options)
  t.after(async () => rig.close())
  return rig
}

/** Before the start there is real work on the disk: when a limit begins to run is not known. */
async function advanced(rig: AgentRig, work: Promise<void>): Promise<void> {
  const state = { isOver: false }
  const over = (): void => void (state.isOver = true)
  work.then(over, over)
  while (!state.isOver) await rig.advance(100)
  await work
}

test('deploy with mustLoad: code that loads is started once, and nothing of it stays', async (t) => {
  const rig = rigFor(t)
  const { freeMib } = await rig.agent.status()
  await rig.agent.deploy(versionOf(), { mustLoad: true })
  await settle()
  assert.deepEqual(await rig.agent.list(), [])
  assert.equal((await rig.agent.status()).freeMib, freeMib)
})

test('deploy with mustLoad: code that does not load is refused with its own error, without it nobody looks', async (t) => {
  const rig = rigFor(t)
  rig.driver.faults.initError = 'Unexpected token'
  const refused = assert.rejects(rig.agent.deploy(versionOf(), { mustLoad: true }), {
    code: 'invalid',
    field: 'code',
    message: 'The code does not load: Error: Unexpected token (phase code_load)\n  at load',
  })
  await advanced(rig, refused)
  assert.equal((await rig.agent.status()).freeMib, 8192)
  await rig.agent.deploy(versionOf())
})

test('deploy with mustLoad: code that never finishes loading is refused after its own limit', async (t) => {
  const rig = rigFor(t)
  rig.driver.faults.loadMs = Infinity
  const deployed = rig.agent.deploy(versionOf({ initTimeoutMs: 500 }), { mustLoad: true })
  const refused = assert.rejects(deployed, { code: 'invalid', message: /did not load within 0\.50 seconds/ })
  await advanced(rig, refused)
})

test('deploy with mustLoad: a sandbox that fails is not the fault of the code', async (t) => {
  const rig = rigFor(t)
  rig.driver.faults.failBoot = { step: 'clone', times: Infinity }
  await assert.rejects(rig.agent.deploy(versionOf(), { mustLoad: true }), { code: 'driver_failed', message: /clone/ })
})

test('deploy with mustLoad: without the memory it says so', async (t) => {
  const rig = rigFor(t, [{}, { memoryMib: 128 }])
  await assert.rejects(rig.agent.deploy(versionOf({ memoryMib: 256 }), { mustLoad: true }), {
    code: 'capacity',
    message: /no 256 MiB left/,
  })
})
