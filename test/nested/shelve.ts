import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseDigest } from '../../src/domain/artifact.ts'
import { imageKey, indexImage } from '../../src/image/runtime-index.ts'
import { runtimeCatalog } from '../../src/image/runtimes.ts'
import { machineRuntimes, shimFolder } from '../support/process-rig.ts'

/* Run in the machine with KVM: names the image that it was given (first argument: the shelf) as that of its own Node. */

const [shelf = ''] = process.argv.slice(2)
const guestProgram = path.resolve(import.meta.dirname, '../../guest/target/release/hearth-guest')
const build = runtimeCatalog(await machineRuntimes(os.tmpdir())).resolve('node')
const {
  digest: hex,
  bytes,
  executable,
  prefix,
}: Record<string, unknown> = JSON.parse(readFileSync(path.join(shelf, 'runtime.json'), 'utf8'))
const digest = parseDigest(String(hex))
assert.ok(digest !== undefined)
const runtime = { ...build, executable: String(executable), prefix: String(prefix) }
const key = await imageKey(build, { guestProgram, shimFolder })
indexImage(path.join(shelf, 'runtimes'), key, { digest, bytes: Number(bytes), runtime, builtAt: 1, skipped: [] })
