import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { commands } from '../cli/commands.ts'
import { exitCodes } from '../cli/exit-codes.ts'
import { helpOf } from '../cli/program.ts'
import { errorCodes } from '../domain/error.ts'
import { outcomes } from '../domain/invocation.ts'
import { machineCommands } from './commands.ts'
import { configKeys, flagOf } from './config-keys.ts'

test('exitCodes: every error code and every outcome has one', () => {
  for (const name of [...errorCodes, ...outcomes]) assert.ok(name in exitCodes, name)
})

test('hearth up: every setting is a flag, and its help says so', () => {
  const help = helpOf('up', { commands: [...machineCommands, ...commands], version: '1' })
  for (const name of Object.keys(configKeys)) assert.ok(help.includes(`--${flagOf(name)}`), name)
})

test('what a machine command makes can be read by the user of the platform, whatever the umask', (t) => {
  const scratch = mkdtempSync(path.join(os.tmpdir(), 'hearth-umask-'))
  t.after(() => rmSync(scratch, { recursive: true }))
  const cache = path.join(scratch, 'cache')
  const script = `umask 077; exec "${process.execPath}" "${path.join(import.meta.dirname, 'hearth.ts')}" image list --json`
  const { status, stderr } = spawnSync('sh', ['-c', script], {
    env: { ...process.env, HEARTH_CACHE: cache },
    encoding: 'utf8',
  })
  assert.equal(status, 0, stderr)
  assert.deepEqual(
    [cache, path.join(cache, 'runtimes')].map((folder) => statSync(folder).mode & 0o777),
    [0o755, 0o755],
  )
})
