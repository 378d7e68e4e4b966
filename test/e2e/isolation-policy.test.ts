import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { call, deployFiles, invoke } from '../support/functions.ts'
import { handlers } from '../support/handlers.ts'
import { startPlatform, testDriver, type Platform } from '../support/platform.ts'
import { until } from '../support/until.ts'
import { vmMissing } from '../support/vm-rig.ts'

/* What the operator's settings isolation, multiTenant and emulation allow, on the real platform. */

const missing = vmMissing() ?? (testDriver === undefined ? null : 'names its own drivers')
const skip = missing === null ? false : missing

let scratch = ''
const data = async (): Promise<string> => {
  scratch ||= await mkdtemp(path.join(os.tmpdir(), 'hearth-policy-'))
  return path.join(scratch, 'data')
}
after(async () => {
  if (scratch !== '') await rm(scratch, { recursive: true, force: true })
})

const { runtime, handler, file, code } = handlers.node
const deploy = async (platform: Platform, name: string, isolation: string): Promise<unknown> =>
  deployFiles(platform, { name, runtime, handler, files: { [file]: code }, config: { isolation, timeoutMs: 60_000 } })

async function driverOf(platform: Platform, name: string): Promise<string | undefined> {
  const reply = await invoke(platform, name, { do: 'echo' })
  assert.equal(reply.status, 200, reply.body.toString())
  const receipt = await call(platform, 'GET', `/v1/invocations/${reply.headers.get('hearth-invocation-id')}`)
  return receipt.json<{ attempts: { driver: string }[] }>().attempts[0]?.driver
}

/** A machine with a KVM that works has nothing to refuse. The report comes after the ready file. */
async function isEmulated(platform: Platform): Promise<boolean> {
  const said = (): true | string => /Hearth is ready .*\n(.*\n)+/.test(platform.output()) || platform.output()
  await until(said, { what: 'the report of the start' })
  return /emulated: /.test(platform.output())
}

test(
  'up --isolation vm: refuses to start where no driver makes microVMs that are a boundary, and names what came of each',
  { skip },
  async (t) => {
    const started = await startPlatform({ flags: ['--isolation', 'vm', '--emulation', 'refuse'] }).then(
      async (platform) => platform.stop(),
      (error: unknown) => String(error),
    )
    if (typeof started !== 'string') return t.skip('KVM works here')
    assert.match(started, /ended with 9 before it was ready/)
    assert.match(started, /Cannot start: the setting isolation demands microVMs, and no driver makes them here\. /)
    assert.match(started, /tcg: refused by the setting "emulation: refuse"\./)
  },
)

test(
  'up: auto runs a function that asks for nothing in a process where machines are emulated, and says so',
  { skip },
  async (t) => {
    const platform = await startPlatform({ data: await data(), keepData: true })
    try {
      if (!(await isEmulated(platform))) return t.skip('KVM works here')
      assert.match(platform.output(), /not chosen {3}no microVMs by default:\n.* {4}qemu: .*no security boundary/s)
      await deploy(platform, 'asks-process', 'process')
      await deploy(platform, 'asks-nothing', 'auto')
      assert.equal(await driverOf(platform, 'asks-nothing'), 'process')
    } finally {
      await platform.stop()
    }
  },
)

test(
  'up --isolation vm: functions that ask for nothing run in machines; a process is refused at deploy, at update and at run time',
  { skip },
  async () => {
    const flags = ['--isolation', 'vm', '--emulation', 'allow']
    const platform = await startPlatform({ data: await data(), keepData: true, flags })
    try {
      assert.notEqual(await driverOf(platform, 'asks-nothing'), 'process')
      // Deployed before the operator demanded it.
      const old = await invoke(platform, 'asks-process', { do: 'echo' })
      assert.equal(old.status, 502, old.body.toString())
      assert.match(old.body.toString(), /runs functions in microVMs alone .* asks for a process: update it/)
      const refusal = /Isolation \\"process\\" is not allowed here: the operator demands a microVM for every function/
      const updated = await call(platform, 'PATCH', '/v1/functions/asks-process', { description: 'still a process' })
      assert.deepEqual([updated.status, refusal.test(updated.body.toString())], [400, true], updated.body.toString())
      await assert.rejects(deploy(platform, 'another-process', 'process'), refusal)
      const moved = await call(platform, 'PATCH', '/v1/functions/asks-process', { isolation: 'auto' })
      assert.equal(moved.status, 200, moved.body.toString())
      assert.notEqual(await driverOf(platform, 'asks-process'), 'process')
    } finally {
      await platform.stop()
    }
  },
)

test(
  'up --multi-tenant: emulated machines run nothing, and a function that asks for a microVM is told why',
  { skip },
  async (t) => {
    const platform = await startPlatform({ flags: ['--multi-tenant'] })
    try {
      if (!(await isEmulated(platform))) return t.skip('KVM works here')
      await assert.rejects(deploy(platform, 'asks-vm', 'vm'), /no microVM driver works on this platform/)
      const nodes = await call(platform, 'GET', '/v1/nodes')
      assert.match(
        nodes.body.toString(),
        /tcg: refused by \\"multiTenant\\": an emulated machine is no security boundary/,
      )
    } finally {
      await platform.stop()
    }
  },
)
