import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Fault, parseRequest } from './bodies.ts'

const right: readonly (readonly [string, string, Record<string, unknown>])[] = [
  ['PUT', '/logger', { log_path: 'log', level: 'Warning', show_level: true, show_log_origin: false }],
  ['PUT', '/machine-config', { vcpu_count: 1, mem_size_mib: 160, smt: false }],
  ['PUT', '/boot-source', { kernel_image_path: 'kernel', boot_args: 'quiet' }],
  ['PUT', '/drives/root', { drive_id: 'root', path_on_host: 'root', is_root_device: true, is_read_only: true }],
  ['PATCH', '/drives/code', { drive_id: 'code', path_on_host: '/vm/code-1' }],
  ['PUT', '/network-interfaces/eth0', { iface_id: 'eth0', host_dev_name: 'tap0', guest_mac: '02:48:54:48:00:01' }],
  ['PUT', '/vsock', { guest_cid: 3, uds_path: 'v' }],
  ['PUT', '/entropy', { rate_limiter: { bandwidth: { size: 1, refill_time: 1 } } }],
  ['PUT', '/balloon', { amount_mib: 0, deflate_on_oom: true, stats_polling_interval_s: 1 }],
  ['PUT', '/actions', { action_type: 'InstanceStart' }],
  ['PATCH', '/vm', { state: 'Paused' }],
  ['PUT', '/snapshot/create', { snapshot_type: 'Full', snapshot_path: 's', mem_file_path: 'm' }],
  ['PUT', '/snapshot/load', { snapshot_path: 's', mem_backend: { backend_type: 'File', backend_path: 'm' } }],
]

test('parseRequest: every route takes its own body, and not one with a field more', () => {
  for (const [method, path, body] of right) {
    assert.deepEqual(parseRequest(method, path, JSON.stringify(body)).body, body, path)
    const more = JSON.stringify({ ...body, colour: 'blue' })
    assert.throws(() => parseRequest(method, path, more), Fault, `${path} with a field too many`)
  }
})

test('parseRequest: a missing field, a wrong type and a wrong word are refused', () => {
  const wrong: readonly (readonly [string, string, unknown])[] = [
    ['PUT', '/machine-config', { vcpu_count: 1 }],
    ['PUT', '/machine-config', { vcpu_count: '1', mem_size_mib: 160 }],
    ['PUT', '/machine-config', { vcpu_count: 1, mem_size_mib: 160.5 }],
    ['PUT', '/boot-source', { boot_args: 'quiet' }],
    ['PUT', '/drives/root', { drive_id: 'root', path_on_host: 'root' }],
    ['PUT', '/entropy', { rate_limiter: { bandwidth: { size: -1, refill_time: 1 } } }],
    ['PUT', '/network-interfaces/eth0', { iface_id: 'eth0', host_dev_name: 'tap0', guest_mac: '02:48' }],
    ['PUT', '/actions', { action_type: 'Start' }],
    ['PATCH', '/vm', { state: 'paused' }],
    ['PUT', '/snapshot/load', { snapshot_path: 's' }],
    [
      'PUT',
      '/snapshot/load',
      { snapshot_path: 's', mem_file_path: 'm', mem_backend: { backend_type: 'File', backend_path: 'm' } },
    ],
    // Came with 1.16.
    ['PUT', '/snapshot/load', { snapshot_path: 's', mem_file_path: 'm', vsock_override: { uds_path: 'v' } }],
    ['PUT', '/vsock', []],
    ['PUT', '/vsock', null],
  ]
  for (const [method, path, body] of wrong)
    assert.throws(
      () => parseRequest(method, path, JSON.stringify(body)),
      /deserializing the json body/,
      JSON.stringify(body),
    )
  assert.throws(() => parseRequest('PUT', '/vsock', '{'), /deserializing the json body/)
})

test('parseRequest: unknown paths and methods, no body, and ids that differ', () => {
  for (const [method, path] of [
    ['PUT', '/'],
    ['PUT', '/machine-config/'],
    ['POST', '/vsock'],
    ['PATCH', '/vsock'],
    ['PUT', '/vm'],
    ['PUT', '/snapshot'],
    ['PUT', '/snapshot/delete'],
    ['PUT', '/drivesroot'],
  ] as const)
    assert.throws(() => parseRequest(method, path, '{}'), {
      message: `Invalid request method and/or path: ${method} ${path}.`,
    })
  assert.throws(() => parseRequest('PUT', '/entropy', ''), { message: 'Empty PUT request.' })
  const drive = JSON.stringify({ drive_id: 'root', path_on_host: 'r', is_root_device: true, is_read_only: true })
  assert.throws(() => parseRequest('PUT', '/drives/code', drive), /does not match the id from the body/)
  assert.throws(() => parseRequest('PUT', '/drives/', drive), /API Resource IDs/)
  assert.throws(() => parseRequest('PUT', '/drives/a-b', drive), /API Resource IDs/)
})
