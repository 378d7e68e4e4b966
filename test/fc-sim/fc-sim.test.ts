import assert from 'node:assert/strict'
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, watch } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { FirecrackerApi } from '../../src/driver/firecracker/api.ts'

/** Starts ./main.ts. */
const program = path.join(import.meta.dirname, 'firecracker')

test('the program: version, and arguments as the real one takes them', () => {
  const run = (...args: string[]): { status: number | null; text: string } => {
    const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' })
    return { status, text: stdout + stderr }
  }
  assert.match(run('--version').text, /^Firecracker v1\.13\.1\n/)
  assert.deepEqual(run('--api-sock=/tmp/x'), {
    status: 153,
    text: "Error: Found argument '--api-sock=/tmp/x' which wasn't expected, or isn't valid in this context.\n",
  })
  assert.match(run('--id').text, /requires a value/)
  assert.match(run('--id', 'a', '--id', 'b').text, /more than once/)
  assert.match(run('--id', 'a_b').text, /Invalid instance ID/)
})

interface Started {
  readonly api: FirecrackerApi
  readonly folder: string
  readonly child: ChildProcess
}

async function start(context: TestContext): Promise<Started> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'fs-'))
  const socket = path.join(folder, 'api')
  const watcher = watch(folder)
  const child = spawn(program, ['--id', 'one', '--api-sock', socket], { stdio: ['ignore', 'ignore', 'inherit'] })
  const api = new FirecrackerApi(socket)
  context.after(async () => {
    api.close()
    child.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true })
  })
  while (!existsSync(socket)) await once(watcher, 'change')
  watcher.close()
  return { api, folder, child }
}

const beforeStart = /not supported before starting the microVM/

test('before the start: what needs a machine is refused', async (context) => {
  const { api } = await start(context)
  await assert.rejects(api.send('PATCH /vm', { state: 'Paused' }), beforeStart)
  await assert.rejects(api.send('PATCH /drives/code', { drive_id: 'code', path_on_host: 'x' }), beforeStart)
  const files = { snapshot_path: 's', mem_file_path: 'm' }
  await assert.rejects(api.send('PUT /snapshot/create', { snapshot_type: 'Full', ...files }), beforeStart)
  await assert.rejects(api.send('PUT /actions', { action_type: 'FlushMetrics' }), beforeStart)
  await assert.rejects(api.send('PUT /actions', { action_type: 'InstanceStart' }), /without kernel configuration/)
})

test('before the start: a configuration that cannot be is refused, and the rest stays', async (context) => {
  const { api, folder } = await start(context)
  const file = path.join(folder, 'image')
  await writeFile(file, 'x')
  await assert.rejects(
    api.send('PUT /boot-source', { kernel_image_path: '/nowhere', boot_args: '' }),
    /kernel file cannot be opened/,
  )
  await assert.rejects(
    api.send('PUT /machine-config', { vcpu_count: 3, mem_size_mib: 128, smt: false }),
    /number of vCPUs/,
  )
  await assert.rejects(api.send('PUT /machine-config', { vcpu_count: 1, mem_size_mib: 0, smt: false }), /memory size/)
  await assert.rejects(api.send('PUT /vsock', { guest_cid: 2, uds_path: path.join(folder, 'v') }), /guest_cid/)
  const drive = { path_on_host: file, is_root_device: true, is_read_only: true }
  await api.send('PUT /drives/root', { drive_id: 'root', ...drive })
  await assert.rejects(api.send('PUT /drives/code', { drive_id: 'code', ...drive }), /root block device already exists/)
  const missing = { drive_id: 'code', ...drive, is_root_device: false, path_on_host: '/nowhere' }
  await assert.rejects(api.send('PUT /drives/code', missing), /ENOENT/)
  await api.send('PUT /boot-source', { kernel_image_path: file, boot_args: '' })
  await assert.rejects(api.send('PUT /actions', { action_type: 'InstanceStart' }), /a root drive and one other/)
})

test('logger and metrics: lines go where they are told to', async (context) => {
  const { api, folder, child } = await start(context)
  const [log, metrics] = [path.join(folder, 'log'), path.join(folder, 'metrics')]
  await assert.rejects(api.send('PUT /metrics', { metrics_path: folder }), /Metrics error/)
  await api.send('PUT /logger', { log_path: log, level: 'Info', show_level: true, show_log_origin: false })
  await api.send('PUT /metrics', { metrics_path: metrics })
  await assert.rejects(api.send('PUT /metrics', { metrics_path: metrics }), /already/)
  const load = { snapshot_path: '/nowhere', network_overrides: [], resume_vm: false }
  await assert.rejects(
    api.send('PUT /snapshot/load', { ...load, mem_backend: { backend_type: 'File', backend_path: '/nowhere' } }),
    /Failed to restore from snapshot: ENOENT/,
  )
  // A load that failed is the end of the process.
  const [code] = await once(child, 'exit')
  assert.equal(code, 1)
  assert.match(await readFile(log, 'utf8'), /\[one:main:ERROR\] Firecracker exiting/)
  assert.ok(JSON.parse(await readFile(metrics, 'utf8')).utc_timestamp_ms > 0)
})

test('snapshot/load: only into a process that has heard of nothing but logger and metrics', async (context) => {
  const { api, child } = await start(context)
  await api.send('PUT /entropy', {})
  const load = { snapshot_path: 's', network_overrides: [], resume_vm: false }
  await assert.rejects(
    api.send('PUT /snapshot/load', { ...load, mem_backend: { backend_type: 'File', backend_path: 'm' } }),
    /not allowed after configuring boot-specific resources/,
  )
  await api.send('PUT /entropy', {})
  assert.equal(child.exitCode, null)
})

test('vsock: while no guest listens connections are closed, and lines that are none end', async (context) => {
  const { api, folder } = await start(context)
  const door = path.join(folder, 'v')
  await api.send('PUT /vsock', { guest_cid: 3, uds_path: door })
  for (const line of ['CONNECT 1024\n', 'CONNECT 7\n', 'HELLO\n', 'x'.repeat(100)]) {
    const socket = net.connect(door)
    socket.end(line)
    let answer = ''
    for await (const chunk of socket) answer += String(chunk)
    assert.equal(answer, '', line)
  }
})
