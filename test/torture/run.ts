import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'

/* `npm run torture`: full counts of kills, floods and soaks. The seed comes from the commit, so each commit walks another path and any walk can be repeated:
 * HEARTH_TEST_SEED=<n> npm run torture */

const root = path.resolve(import.meta.dirname, '../..')
const commit = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim()
const seed = process.env['HEARTH_TEST_SEED'] ?? String(Number.parseInt(commit.slice(0, 8), 16))
console.log(`torture with seed ${seed} (commit ${commit.slice(0, 8)})`)
const files = ['kill', 'faults', 'disk', 'flood', 'soak', 'vm'].map((name) =>
  path.join(import.meta.dirname, `${name}.torture.ts`),
)
for (const name of ['examples', 'native', 'starters']) files.push(path.join(root, `test/e2e/${name}.test.ts`))
/** What `npm test` runs on QEMU, here on Firecracker: the simulator, or the binary that FIRECRACKER_BIN names. */
const suitesOnVms: string[] = JSON.parse(readFileSync(path.join(root, 'test/suites-on-vms.json'), 'utf8'))
const statuses = [
  run(files, {}),
  run(
    suitesOnVms.map((file) => path.join(root, file)),
    { HEARTH_TEST_DRIVER: 'firecracker' },
  ),
]
process.exitCode = statuses.find((status) => status !== 0) ?? 0

function run(chosen: readonly string[], env: Readonly<Record<string, string>>): number {
  const { status } = spawnSync(process.execPath, ['--test', '--test-concurrency=1', ...chosen], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, HEARTH_TEST_SEED: seed, HEARTH_TEST_TIER: 'torture', ...env },
  })
  return status ?? 1
}
