import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startScripted } from '../../test/support/in-process.ts'
import { scriptedAgent } from '../../test/support/scripted-agent.ts'

test('metrics: microVMs by driver, each driver asked once a scrape, and nothing where a VMM cannot tell', async () => {
  const agent = scriptedAgent()
  let asked = 0
  const told = await agent.machines()
  agent.machines = async () => {
    asked++
    return told
  }
  const api = await startScripted(agent)
  try {
    const text = await api.control.metrics({ actor: 'tester', project: 'default', scopes: ['metrics:read'] })
    const lines = text.split('\n').filter((line) => line.startsWith('hearth_vm'))
    assert.deepEqual(lines, [
      'hearth_vms{node="node-1",driver="qemu"} 3',
      'hearth_vms{node="node-1",driver="firecracker"} 2',
      'hearth_vm_memory_bytes{node="node-1",driver="qemu"} 5000',
      'hearth_vm_memory_bytes{node="node-1",driver="firecracker"} 4000',
      'hearth_vm_guest_available_bytes{node="node-1",driver="firecracker"} 1000',
    ])
    assert.equal(asked, 1)
  } finally {
    await api.close()
  }
})

test('metrics: a figure that a driver cannot tell any more is gone with the next scrape', async (t) => {
  const agent = scriptedAgent()
  let guestAvailableBytes: number | null = 1_000
  agent.machines = async () => [{ driver: 'firecracker', machines: 0, memoryBytes: 0, guestAvailableBytes }]
  const api = await startScripted(agent)
  t.after(() => api.close())
  let nowMs = 0
  t.mock.method(performance, 'now', () => nowMs)
  const available = async (): Promise<string[]> => {
    nowMs += 60_000
    const text = await api.control.metrics({ actor: 'tester', project: 'default', scopes: ['metrics:read'] })
    return text.split('\n').filter((line) => line.startsWith('hearth_vm_guest_available_bytes'))
  }
  assert.deepEqual(await available(), ['hearth_vm_guest_available_bytes{node="node-1",driver="firecracker"} 1000'])
  guestAvailableBytes = null
  assert.deepEqual(await available(), [])
})
