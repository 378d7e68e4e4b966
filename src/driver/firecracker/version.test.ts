import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { firecrackerVersion } from './version.ts'

test('firecrackerVersion: what the program says, refused when too old, silent or not there', async (context) => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hf-'))
  context.after(() => rm(folder, { recursive: true, force: true }))
  const program = async (says: string): Promise<string> => {
    const file = path.join(folder, says.replaceAll(/\W/g, '-'))
    await writeFile(file, `#!/bin/sh\necho '${says}'\n`, { mode: 0o755 })
    return file
  }
  assert.equal(await firecrackerVersion(await program('Firecracker v1.12.0')), '1.12.0')
  assert.equal(await firecrackerVersion(await program('Firecracker v2.0.1-dev')), '2.0.1')
  await assert.rejects(firecrackerVersion(await program('Firecracker v1.11.9')), {
    code: 'driver_failed',
    message: 'Firecracker 1.11.9 is too old: microVMs need 1.12 or newer.',
  })
  await assert.rejects(firecrackerVersion(await program('hello')), { message: /does not say which version it is/ })
  await assert.rejects(firecrackerVersion(path.join(folder, 'none')), { message: /Cannot run .*ENOENT/ })
})
