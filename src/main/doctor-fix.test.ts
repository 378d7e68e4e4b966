import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import type { RuntimeBuild } from '../domain/runtime.ts'
import { createOutput } from '../cli/output.ts'
import { fixMachine, fixQemu } from './doctor-fix.ts'

const scratch = mkdtempSync(path.join(os.tmpdir(), 'hearth-fix-'))
after(() => rmSync(scratch, { recursive: true, force: true }))
const skip = process.getuid?.() === 0 && os.arch() === 'x64' ? false : 'needs root, on x86-64'

const qemuSays = 'echo "QEMU emulator version 7.2.22 (Debian)"'

/** Puts a program that prints something onto the PATH of `folder`. */
function program(folder: string, name: string, script: string): string {
  const file = path.join(folder, name)
  writeFileSync(file, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  return file
}

/** A machine whose PATH has `aptGet` alone, a shell script. */
function machine(name: string, aptGet: string | null): Parameters<typeof fixQemu>[0] & { folder: string } {
  const folder = path.join(scratch, name)
  mkdirSync(folder)
  if (aptGet !== null) writeFileSync(path.join(folder, 'apt-get'), `#!/bin/sh\n${aptGet}`, { mode: 0o755 })
  const stream = { write: () => true, isTTY: false }
  const output = createOutput({ stdout: stream, stderr: stream, env: {}, isJson: false })
  return { folder, env: { PATH: folder, HEARTH_CACHE: path.join(folder, 'cache') }, cwd: folder, output }
}

test('fixQemu: asks apt, again after an update, and believes what it then finds', { skip }, async () => {
  // As on a machine without package lists: the first install fails.
  const script = `cd "\${0%/*}"; echo "$* $DEBIAN_FRONTEND" >> asked
if [ "$1" = install ]; then [ -e lists ] || exit 100; printf '#!/bin/sh\\n%s\\n' '${qemuSays}' > qemu-system-x86_64; /bin/chmod 755 qemu-system-x86_64; else printf '' > lists; fi`
  const here = machine('fresh', script)
  const qemu = path.join(here.folder, 'qemu-system-x86_64')
  assert.equal(await fixQemu(here), `Installed Debian's qemu-system-x86: ${qemu}, version 7.2.22.`)
  const install = 'install -y --no-install-recommends qemu-system-x86 noninteractive'
  assert.deepEqual(readFileSync(path.join(here.folder, 'asked'), 'utf8').trim().split('\n'), [
    install,
    'update noninteractive',
    install,
  ])
  assert.equal(await fixQemu(here), `It is there: ${qemu}, version 7.2.22.`)
})

test("fixQemu: apt's own words, or that there is no apt, say why not", { skip }, async () => {
  await assert.rejects(fixQemu(machine('broken', 'echo "E: Unable to fetch" >&2; exit 100')), {
    code: 'driver_failed',
    message: 'Apt-get update: E: Unable to fetch.',
  })
  await assert.rejects(fixQemu(machine('silent', 'exit 100')), {
    message: /^Apt-get update: Command failed: apt-get update\.$/,
  })
  await assert.rejects(fixQemu(machine('other', null)), /This system has no apt-get: install QEMU 7 or newer/)
  await assert.rejects(
    fixQemu(machine('liar', 'exit 0')),
    /apt-get installed qemu-system-x86, and no QEMU is on the PATH/i,
  )
})

test('fixQemu: an apt that was stopped or killed, maybe within a package, is not run again', { skip }, async () => {
  const slow = machine('slow', 'echo "$1" >> "${0%/*}/asked"; exec /bin/sleep 60')
  await assert.rejects(fixQemu(slow, { aptMsMax: 500 }), {
    code: 'driver_failed',
    message: 'Apt-get install was stopped after 0.5 s.',
    detail: /"dpkg --configure -a" sets that right/,
  })
  const killed = machine('killed', 'echo "$1" >> "${0%/*}/asked"; kill -9 $$')
  await assert.rejects(fixQemu(killed), { message: 'Apt-get install was ended by SIGKILL.', detail: /dpkg/ })
  for (const { folder } of [slow, killed])
    assert.equal(readFileSync(path.join(folder, 'asked'), 'utf8').trim(), 'install')
})

test(
  'fixQemu: one that is too old, and a processor that QEMU has no microVM for, are no success',
  { skip },
  async () => {
    const here = machine('old', 'exit 0')
    const qemu = program(here.folder, 'qemu-system-x86_64', 'echo "QEMU emulator version 6.2.0"')
    await assert.rejects(fixQemu(here), {
      message: 'QEMU 6.2.0 is too old: microVMs need 7.0 or newer.',
      detail: new RegExp(`^It is ${qemu}, which platforms take before`),
    })
    await assert.rejects(fixQemu(here, { arch: 'arm64' }), {
      message: 'QEMU makes microVMs on x86-64 alone, and this is arm64.',
    })
  },
)

const node: RuntimeBuild = {
  ...{ id: 'node24', family: 'node', version: '24.0.0', executable: '/none/node', prefix: '' },
  digest: `sha256:${'0'.repeat(64)}`,
  image: `sha256:${'0'.repeat(64)}`,
  isBridged: false,
}
const none = { runtimes: [], mirror: 'http://127.0.0.1:9' }

test(
  'fixMachine: a Firecracker on the PATH counts with its jailer, and only when it is new enough',
  { skip },
  async () => {
    const here = machine('pair', 'exit 100')
    // Nothing can be fetched: there is a file where the cache should be.
    writeFileSync(path.join(here.folder, 'cache'), '')
    const firecracker = program(here.folder, 'firecracker', 'echo "Firecracker v1.11.0"')
    const found = async (): Promise<unknown> =>
      (await fixMachine(here, none)).find(({ what }) => what === 'Firecracker')
    assert.doesNotMatch(JSON.stringify(await found()), /It is there/)
    const jailer = program(here.folder, 'jailer', 'exit 0')
    assert.deepEqual(await found(), {
      what: 'Firecracker',
      isThere: false,
      detail: 'Firecracker 1.11.0 is too old: microVMs need 1.12 or newer.',
      hint: `It is ${firecracker}, which platforms take before what this installs: replace it, or take it away and run this again.`,
    })
    program(here.folder, 'firecracker', 'echo "Firecracker v1.12.0"')
    assert.deepEqual(await found(), {
      what: 'Firecracker',
      isThere: true,
      detail: `It is there: ${firecracker}, version 1.12.0, and ${jailer}.`,
    })
  },
)

test(
  'fixMachine: settings that name no program, or a cache that cannot be, are told and do not take the rest away',
  { skip },
  async () => {
    const named = machine('named', 'exit 0')
    const file = path.join(named.folder, 'no-qemu')
    const fixes = await fixMachine({ ...named, env: { ...named.env, HEARTH_QEMU: file } }, none)
    const detail = `Cannot use qemu ${file}: it is no program that can be run.`
    assert.deepEqual(fixes, [
      { what: 'QEMU', isThere: false, detail },
      { what: 'Firecracker', isThere: false, detail },
    ])
    const half = machine('half', 'exit 0')
    const firecracker = program(half.folder, 'my-firecracker', 'exit 0')
    const other = await fixMachine({ ...half, env: { ...half.env, HEARTH_FIRECRACKER: firecracker } }, none)
    assert.equal(other[1]?.detail, `The settings name ${firecracker}, and there is no jailer to it.`)

    const cacheless = machine('cacheless', 'exit 0')
    program(cacheless.folder, 'qemu-system-x86_64', qemuSays)
    writeFileSync(path.join(cacheless.folder, 'cache'), '')
    const told = await fixMachine(cacheless, { ...none, runtimes: [node] })
    assert.deepEqual(
      told.map(({ what, isThere }) => [what, isThere]),
      [
        ['QEMU', true],
        ['Firecracker', false],
        ['kernel', false],
        ['images', false],
      ],
    )
  },
)
