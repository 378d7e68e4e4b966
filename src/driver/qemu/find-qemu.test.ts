import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { tscKhz } from './find-qemu.ts'

const cpuinfo = (flags: string): string => `processor\t: 0\ncpu MHz\t\t: 2599.998\nflags\t\t: ${flags}\n`

test('tscKhz: what the kernel shows, unless that is the present speed of the processor: then it is measured', (t) => {
  assert.equal(tscKhz('/never/run', cpuinfo('fpu tsc constant_tsc')), 2_599_998)
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-tsc-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const guest = path.join(folder, 'guest')
  writeFileSync(guest, '#!/bin/sh\n[ "$1" = tsc ] && echo 2445419\n')
  chmodSync(guest, 0o755)
  assert.equal(tscKhz(guest, cpuinfo('fpu tsc aperfmperf')), 2_445_400)
  assert.equal(tscKhz(guest, 'processor : 0\n'), 2_445_400)
})
