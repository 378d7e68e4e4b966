import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { test } from 'node:test'
import { runtimeArgv, shimMount } from '../../src/driver/runtime-command.ts'
import { GuestBench } from '../support/guest-bench.ts'
import { openVmRig } from '../support/vm-rig.ts'

const cid = 42
const relay = path.join(import.meta.dirname, 'vsock-relay.py')
const code = 'exports.handler = async ({ text }) => ({ text })\n'

test('a guest without virtio ports is spoken to by vsock, on all three channels, and again after a break', async (t) => {
  const rig = await openVmRig()
  const codeFolder = path.join(rig.folder, 'code')
  await mkdir(codeFolder)
  await writeFile(path.join(codeFolder, 'index.js'), code)
  const build = rig.builds.find(({ family }) => family === 'node')
  assert.ok(build)
  const { images } = rig
  const [kernel, root] = [await images.kernel(), await images.runtimeImage(build)]
  const codeImage = await images.codeImage({ codeFolder, cacheFolder: null, layerFolders: [] }, 'test')
  const vm = new GuestBench({
    kernel,
    root: root.path,
    code: codeImage.path,
    memoryMib: 288,
    memoryFile: path.join(rig.folder, 'ram'),
    argv: runtimeArgv(root.runtime, { shimFolder: shimMount, bridge: '' }),
    hostname: 'by-vsock',
    vsockCid: cid,
  })
  const door = spawn('python3', [relay, String(cid), vm.vm.folder], { stdio: ['ignore', 'inherit', 'inherit'] })
  try {
    const { init, supervisor, runtime } = await vm.boot()
    assert.deepEqual([init.role, supervisor.role, runtime.role], ['init', 'supervisor', 'runtime'])
    t.diagnostic(`runtime up ${(performance.now() - vm.vm.startedAt).toFixed(0)} ms after the start of QEMU`)
    await vm.bind('index.handler')
    const text = 'abcdefgh'.repeat(125_000)
    const fromMs = performance.now()
    assert.ok((await vm.json({ text }))['text'] === text)
    t.diagnostic(`1 MB there and back: ${(performance.now() - fromMs).toFixed(0)} ms`)
    const pingedMs = performance.now()
    for (let n = 0; n < 20; n++) await vm.init.ping()
    t.diagnostic(`a PING of the init: ${((performance.now() - pingedMs) / 20).toFixed(2)} ms`)
    vm.supervisor.close()
    await vm.connectSupervisor('e1')
    await vm.supervisorHello.promise
    await vm.supervisor.ping()
    assert.deepEqual(await vm.json({ text: 'still there' }), { text: 'still there' })
  } finally {
    door.kill('SIGKILL')
    await vm.kill()
    await rig.close()
  }
})
