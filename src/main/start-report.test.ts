import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startReport, type StartFacts } from './start-report.ts'

const cgroup =
  'Cannot make the cgroup "/sys/fs/cgroup/x": Permission denied. Cannot make the cgroup "/sys/fs/cgroup/y".'
const facts: StartFacts = {
  url: 'http://127.0.0.1:8080',
  urlsUrl: 'http://localhost:8081',
  data: '/srv/hearth',
  apiKeyFile: '/srv/hearth/admin.key',
  newKey: null,
  user: 'hearth',
  startMs: 1234,
  lost: [],
  status: {
    node: 'n',
    arch: 'x86_64',
    draining: false,
    memoryMib: 1,
    freeMib: 1,
    runtimes: [],
    instances: { booted: 0, ready: 0, busy: 0, frozen: 0 },
    drivers: [
      {
        name: 'process',
        works: true,
        isVm: false,
        vmm: null,
        detail: 'A sandbox was made.',
        enforced: [
          { feature: 'seccomp', enforced: true, detail: '' },
          { feature: 'memory_limit', enforced: false, detail: cgroup },
          { feature: 'pids_limit', enforced: false, detail: cgroup },
          { feature: 'own_uid', enforced: false, detail: 'the sandbox ran as uid 1000' },
        ],
      },
    ],
  },
}

test('startReport: what is lost is grouped by its reason; a key is shown only when it is new', () => {
  const text = startReport(facts, false)
  assert.match(text, /ready at http:\/\/127\.0\.0\.1:8080 after 1\.23 s/)
  assert.match(
    text,
    /not enforced memory_limit, pids_limit: Cannot make the cgroup "\/sys\/fs\/cgroup\/x": Permission denied\.\n/,
  )
  assert.match(text, /not enforced own_uid: the sandbox ran as uid 1000\n/)
  assert.doesNotMatch(text, /seccomp|hth_/)
  assert.match(
    startReport({ ...facts, newKey: 'hth_new' }, false),
    /hth_new {2}\(shown once; kept in \/srv\/hearth\/admin\.key\)/,
  )
})

test('startReport: says why functions do not run in microVMs by themselves, driver by driver', () => {
  assert.doesNotMatch(startReport(facts, false), /not chosen/)
  const lost = ['firecracker: Its program is not on this machine.', 'qemu: this machine has no /dev/kvm; emulated: no.']
  assert.match(
    startReport({ ...facts, lost }, false),
    /\n {2}not chosen {3}no microVMs by default:\n {4}firecracker: Its program is not on this machine\.\n {4}qemu: this machine/,
  )
})
