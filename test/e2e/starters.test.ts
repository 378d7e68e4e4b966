import assert from 'node:assert/strict'
import path from 'node:path'
import { test } from 'node:test'
import { openWorkbench } from '../support/workbench.ts'

/* What `hearth init` writes for each kind is deployed and called by the very lines that it prints. */

const bench = openWorkbench('starters')
const { folder } = bench

interface Written {
  readonly kind: string
  readonly files: readonly string[]
  readonly next: readonly string[]
}

/** Writes the starter and gives its lines as arguments of `hearth`. */
async function write(kind: string): Promise<{ written: Written; lines: string[][] }> {
  const { stdout, stderr, code } = await bench.platform.cli(['init', kind, path.join(folder, kind), '--json'])
  assert.equal(code, 0, stderr)
  const written: Written = JSON.parse(stdout)
  return { written, lines: written.next.map((line) => line.split(' ').slice(1)) }
}

const isTorture = process.env['HEARTH_TEST_TIER'] === 'torture'

/** Go's starter is deployed in native.test.ts. */
for (const [kind, inferred] of [
  ['node', '--runtime node --handler index.handler'],
  ['python', '--runtime python --handler main.handler'],
  ['provided', '--runtime provided'],
  ['http', "--runtime node --contract http --command 'node server.js'"],
  ['azure', '--runtime node --contract azure'],
  ['python3.11', '--runtime python3.11 --handler main.handler'],
  ['rust', '--runtime rust --handler main::handler'],
] as const) {
  const skip = kind === 'rust' && !isTorture && 'compiles for too long: `npm run torture` runs it'
  test(`hearth init ${kind}: deploys and answers, and create says what it inferred`, { skip }, async () => {
    const { lines } = await write(kind)
    const [create = [], ...others] = lines
    const made = await bench.platform.cli(create)
    assert.equal(made.code, 0, made.stderr)
    assert.ok(made.stderr.includes(`Inferred ${inferred} from `), made.stderr)
    const call = others.find(([, verb]) => verb === 'invoke') ?? []
    for (const _ of ['cold', 'warm']) {
      const { stdout, stderr } = await bench.platform.cli(call)
      assert.deepEqual(stdout === '' ? stderr : JSON.parse(stdout), { greeting: 'Hello, you!' })
    }
  })
}

test('hearth init container: says how an image is made and deployed; unknown kinds are refused by name', async () => {
  const { written } = await write('image')
  assert.equal(written.kind, 'container')
  assert.ok(written.files.includes('Dockerfile'))
  assert.match(written.next.join('\n'), /docker build .*\nhearth function create --name image --image \.\/image\.tar/)
  const refused = await bench.platform.cli(['init', 'cobol', folder])
  assert.deepEqual(
    [refused.code, /must be one of node, python, go, rust, provided, http/.test(refused.stderr)],
    [2, true],
  )
})
