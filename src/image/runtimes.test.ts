import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import type { Toolchain } from '../domain/build.ts'
import type { RuntimeBuild, RuntimeCatalog } from '../domain/runtime.ts'
import { discoverRuntimes, runtimeCatalog } from './runtimes.ts'

function build(id: RuntimeBuild['id'], version: string): RuntimeBuild {
  const family = id.startsWith('node') ? 'node' : 'python'
  const digest = `sha256:${Buffer.from(`${id} ${version}`).toString('hex').padEnd(64, '0').slice(0, 64)}` as const
  return { id, family, version, executable: `/opt/${version}`, prefix: '', digest, isBridged: false, image: digest }
}

const builds = [
  build('node20', '20.1.0'),
  build('node26', '26.10.0'),
  build('node26', '26.9.0'),
  build('python3.11', '3.11.2'),
  build('python3.13', '3.13.0'),
]
const catalog = runtimeCatalog(builds)

test('resolve: an id, a family and the name on AWS; the newest of each', () => {
  for (const [name, version] of [
    ['node', '26.10.0'],
    ['node26', '26.10.0'],
    ['nodejs20.x', '20.1.0'],
    ['python', '3.13.0'],
    ['python3.11', '3.11.2'],
  ] as const)
    assert.equal(catalog.resolve(name).version, version, name)
})

test('resolve: a known runtime that is missing names the command and what is there', () => {
  assert.throws(() => catalog.resolve('nodejs22.x'), {
    code: 'invalid',
    field: 'runtime',
    message:
      'Runtime "node22" is not installed on this node. Install it with `hearth runtime install node22`, or take "node20". Installed: node26, node20.',
  })
  assert.throws(
    () => catalog.resolve('python3.12'),
    /\(package, pyenv or uv\) and start Hearth again, or take "python3\.13"/,
  )
})

const digest9 = `sha256:${'9'.repeat(64)}` as const
const provided = {
  ...build('provided', '1'),
  family: 'provided',
  digest: digest9,
  image: digest9,
  isBridged: true,
} as const
const all = runtimeCatalog([...builds, provided])

const goLines = 'known are go1.21, go1.22, go1.23, go1.24, go1.25, go1.26'
const rustLines = 'known are rust1.75, rust1.85, rust1.90, rust1.95, rust1.96'

test('resolve: names that have ended, are too old, or of no language here say what to take', () => {
  for (const [name, words] of [
    ['nodejs16.x', ': node18 to node26 are known. The nearest here is "node20".'],
    ['nodejs30.x', ': node18 to node26 are known. The nearest here is "node26".'],
    ['python3.8', ': python3.11 to python3.13 are known. The nearest here is "python3.11".'],
    ['python2.7', ': python3.11 to python3.13 are known. The nearest here is "python3.11".'],
    ['go1.x', ': it has ended on AWS. Take "go" for a source, or "provided.al2023" for a program that is built.'],
    ['go1.19', `: ${goLines}. The nearest is "go1.21"; "go" is the newest of this machine.`],
    ['go1.99', `: ${goLines}. The nearest is "go1.26"; "go" is the newest of this machine.`],
    ['go1.26.8', `: ${goLines}. The nearest is "go1.26"; "go" is the newest of this machine.`],
    ['rust1.60', `: ${rustLines}. The nearest is "rust1.75"; "rust" is the newest of this machine.`],
    ['rust1.99', `: ${rustLines}. The nearest is "rust1.96"; "rust" is the newest of this machine.`],
    [
      'java21',
      ': Hearth has none of its own for this language. Take "provided.al2023" with a bootstrap, or "http" with a server, that brings its own.',
    ],
    ['provided.al2032', '. Did you mean "provided.al2023"?'],
    [
      'golang',
      '. Here are node, python, provided, node26, node20, python3.13, python3.11, provided.al2, provided.al2023, http, image, go, rust.',
    ],
    ['rst', '. Did you mean "rust"?'],
  ] as const)
    assert.throws(() => all.resolve(name), {
      code: 'invalid',
      field: 'runtime',
      message: `Unknown runtime "${name}"${words}`,
    })
})

test('resolve: lines of Go and Rust that are in no list yet are known by their compilers', () => {
  const compiler = (language: 'go' | 'rust', version: string): Toolchain => ({
    language,
    version,
    folder: '/x',
    arches: [],
  })
  const newer = runtimeCatalog([...builds, provided], [compiler('go', '1.31.2'), compiler('rust', '1.120.0')])
  for (const name of ['go', 'rust', 'go1.22', 'go1.31', 'rust1.75', 'rust1.120'])
    assert.equal(newer.resolve(name).id, name)
  assert.throws(() => newer.resolve('go1.32'), /The nearest is "go1\.31"/)
  assert.throws(() => newer.resolve('rust1.119'), /The nearest is "rust1\.120"/)
  assert.throws(() => runtimeCatalog(builds).resolve('go1.22'), /npm run setup/)
})

test('others: what runs without an interpreter, with what it needs and whether that is here', () => {
  const rust: Toolchain = { language: 'rust', version: '1.85.0', folder: '/x', arches: [] }
  const here = (catalog: RuntimeCatalog): unknown[] =>
    catalog.others().map(({ id, isHere, versions }) => [id, isHere, versions.length])
  assert.deepEqual(here(runtimeCatalog([provided], [rust])), [
    ['http', true, 0],
    ['image', true, 0],
    ['go', false, 0],
    ['rust', true, 1],
  ])
  assert.ok(
    runtimeCatalog([], [rust])
      .others()
      .every(({ isHere }) => !isHere),
  )
  const [, , go] = runtimeCatalog([provided], [{ ...rust, language: 'go', version: '1.31.0' }]).others()
  assert.deepEqual(go?.versions, ['go1.31', 'go1.26', 'go1.25', 'go1.24', 'go1.23', 'go1.22', 'go1.21'])
})

test('resolve: an unknown name gets the nearest that works', () => {
  assert.throws(() => catalog.resolve('pythn3.13'), {
    code: 'invalid',
    message: 'Unknown runtime "pythn3.13". Did you mean "python3.13"?',
  })
  assert.throws(() => runtimeCatalog([]).resolve('node9000'), /Did you mean|Unknown runtime "node9000"/)
})

test('list: the newest build of each id; every build can be pinned', () => {
  assert.deepEqual(
    catalog.list().map(({ version }) => version),
    ['26.10.0', '20.1.0', '3.13.0', '3.11.2'],
  )
  for (const { digest, version } of builds) assert.equal(catalog.pinned(digest).version, version)
  assert.throws(() => catalog.pinned(`sha256:${'f'.repeat(64)}`), { code: 'not_found' })
})

test('discoverRuntimes: runs what it finds, believes nothing else, and remembers', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-runtimes-'))
  try {
    const shim = path.join(folder, 'node-shim')
    const liar = path.join(folder, 'liar')
    await writeFile(shim, `#!/bin/sh\necho run >> ${folder}/runs\nexec ${process.execPath} "$@"\n`)
    await writeFile(liar, '#!/bin/sh\necho "I am Node 26"\n')
    for (const file of [shim, liar]) await chmod(file, 0o755)
    await mkdir(path.join(folder, 'shims/node'), { recursive: true })
    const options = {
      candidates: [shim, liar, path.join(folder, 'absent')].map((file) => ({ path: file, family: 'node' as const })),
      shimFolder: path.join(folder, 'shims'),
      cacheFile: path.join(folder, 'runtimes.json'),
    }
    const [found, ...others] = await discoverRuntimes(options)
    assert.deepEqual(others, [])
    assert.equal(found?.executable, process.execPath)
    assert.equal(found?.version, process.versions.node)
    assert.deepEqual(await discoverRuntimes(options), [found])
    assert.equal(await readFile(path.join(folder, 'runs'), 'utf8'), 'run\n')
    await writeFile(path.join(folder, 'shims/node/bootstrap.cjs'), '// changed')
    assert.notEqual((await discoverRuntimes(options))[0]?.digest, found?.digest)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test('discoverRuntimes: an interpreter that was too slow to answer once is asked again at the next start', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-runtimes-'))
  try {
    const shim = path.join(folder, 'node-shim')
    const isSlow = path.join(folder, 'is-slow')
    await writeFile(shim, `#!/bin/sh\n[ -e ${isSlow} ] && exec sleep 60\nexec ${process.execPath} "$@"\n`)
    await writeFile(isSlow, '')
    await chmod(shim, 0o755)
    const options = {
      candidates: [{ path: shim, family: 'node' as const }],
      shimFolder: path.join(folder, 'shims'),
      cacheFile: path.join(folder, 'runtimes.json'),
    }
    assert.deepEqual(await discoverRuntimes({ ...options, probeMs: 200 }), [])
    await rm(isSlow)
    const [found] = await discoverRuntimes(options)
    assert.equal(found?.executable, process.execPath)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test('resolve: provided and http are one environment under several names; other contracts run an interpreter through the bridge', () => {
  for (const name of ['provided', 'provided.al2', 'provided.al2023', 'http'])
    assert.deepEqual([all.resolve(name).id, all.resolve(name).digest], [name, digest9])
  const plain = all.resolve('node26')
  const bridged = all.resolve('node26', 'http')
  assert.deepEqual([plain.isBridged, bridged.isBridged, bridged.image], [false, true, plain.digest])
  assert.notEqual(bridged.digest, plain.digest)
  assert.deepEqual(all.pinned(bridged.digest), bridged)
  assert.throws(() => catalog.resolve('provided.al2'), /npm run setup/)
})
