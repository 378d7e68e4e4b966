import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test, type TestContext } from 'node:test'
import { thisArch } from './targets.ts'
import { findToolchains, versionIn } from './toolchains.ts'

function scratch(t: TestContext): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-toolchains-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

function compiler(folder: string, says: string): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(path.join(folder, 'rustc'), `#!/bin/sh\necho "${says}"\n`)
  chmodSync(path.join(folder, 'rustc'), 0o755)
}

const rustOf = (all: Awaited<ReturnType<typeof findToolchains>>, root: string): (readonly string[])[] =>
  all.filter(({ folder }) => folder.startsWith(root)).map(({ version, folder }) => [version, folder])

test("findToolchains: rustup's own folder, the one it is told of, and $PATH", async (t) => {
  const root = scratch(t)
  compiler(path.join(root, '.rustup/toolchains/1.75.0-x/bin'), 'rustc 1.75.0 (82e1608df 2023-12-21)')
  compiler(path.join(root, 'elsewhere/toolchains/own/bin'), 'rustc 1.80.1 (3f5fd8dd4 2024-08-06)')
  compiler(path.join(root, 'opt/bin'), 'rustc 1.77.2 (25ef9e3d8 2024-04-09)')
  const sources = { path: [path.join(root, 'opt/bin')], home: root }
  assert.deepEqual(rustOf(await findToolchains(sources), root), [
    ['1.77.2', path.join(root, 'opt')],
    ['1.75.0', path.join(root, '.rustup/toolchains/1.75.0-x')],
  ])
  const told = await findToolchains({ ...sources, rustupHome: path.join(root, 'elsewhere') })
  assert.deepEqual(
    rustOf(told, root).map(([version]) => version),
    ['1.80.1', '1.77.2'],
  )
})

test("findToolchains: a nightly, and rustup's stand-in for the default, are no toolchains", async (t) => {
  const root = scratch(t)
  compiler(path.join(root, '.rustup/toolchains/nightly/bin'), 'rustc 1.97.0-nightly (b5c9e4f9b 2026-03-01)')
  mkdirSync(path.join(root, 'bin'))
  writeFileSync(path.join(root, 'bin/rustup'), '#!/bin/sh\necho "rustc 1.75.0 (82e1608df 2023-12-21)"\n', {
    mode: 0o755,
  })
  symlinkSync('rustup', path.join(root, 'bin/rustc'))
  assert.deepEqual(rustOf(await findToolchains({ path: [path.join(root, 'bin')], home: root }), root), [])
})

test('findToolchains: another processor needs its standard library and a linker', async (t) => {
  const root = scratch(t)
  const folder = path.join(root, '.rustup/toolchains/own')
  compiler(path.join(folder, 'bin'), 'rustc 1.75.0 (82e1608df 2023-12-21)')
  for (const triple of ['x86_64-unknown-linux-gnu', 'aarch64-unknown-linux-gnu'])
    mkdirSync(path.join(folder, 'lib/rustlib', triple, 'lib'), { recursive: true })
  const linkers = scratch(t)
  const arches = async (): Promise<readonly string[] | undefined> =>
    (await findToolchains({ path: [], home: root, linkers })).find((each) => each.folder === folder)?.arches
  assert.deepEqual(await arches(), [thisArch])
  for (const name of ['x86_64-linux-gnu-gcc', 'aarch64-linux-gnu-gcc']) writeFileSync(path.join(linkers, name), '')
  assert.deepEqual(await arches(), ['x86_64', 'arm64'])
})

test('versionIn reads what compilers say of themselves, and nothing between versions', () => {
  assert.equal(versionIn('go', 'go version go1.22.12 linux/amd64'), '1.22.12')
  assert.equal(versionIn('go', '/tmp/out/program: go1.26'), '1.26')
  assert.equal(versionIn('go', 'go version go1.27rc1 linux/amd64'), null)
  assert.equal(versionIn('rust', 'rustc 1.75.0 (82e1608df 2023-12-21)'), '1.75.0')
  assert.equal(versionIn('rust', 'rustc 1.97.0-nightly (b5c9e4f9b 2026-03-01)'), null)
})
