import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { createOutput } from '../cli/output.ts'
import { fixQemu } from './doctor-fix.ts'

const scratch = mkdtempSync(path.join(os.tmpdir(), 'hearth-fix-'))
after(() => rmSync(scratch, { recursive: true, force: true }))
const skip = process.getuid?.() === 0 && os.arch() === 'x64' ? false : 'needs root, on x86-64'

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
if [ "$1" = install ]; then [ -e lists ] || exit 100; printf '' > qemu-system-x86_64; /bin/chmod 755 qemu-system-x86_64; else printf '' > lists; fi`
  const here = machine('fresh', script)
  const program = path.join(here.folder, 'qemu-system-x86_64')
  assert.equal(await fixQemu(here), `Installed Debian's qemu-system-x86: ${program}.`)
  const install = 'install -y --no-install-recommends qemu-system-x86 noninteractive'
  assert.deepEqual(readFileSync(path.join(here.folder, 'asked'), 'utf8').trim().split('\n'), [
    install,
    'update noninteractive',
    install,
  ])
  assert.equal(await fixQemu(here), `It is there: ${program}.`)
})

test("fixQemu: apt's own words, or that there is no apt, say why not", { skip }, async () => {
  await assert.rejects(fixQemu(machine('broken', 'echo "E: Unable to fetch" >&2; exit 100')), {
    code: 'driver_failed',
    message: 'Apt-get update: E: Unable to fetch.',
  })
  await assert.rejects(fixQemu(machine('other', null)), /This system has no apt-get: install QEMU 7 or newer/)
  await assert.rejects(
    fixQemu(machine('liar', 'exit 0')),
    /apt-get installed qemu-system-x86, and no QEMU is on the PATH/i,
  )
})
