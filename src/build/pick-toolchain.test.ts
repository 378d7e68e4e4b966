import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Toolchain } from '../domain/build.ts'
import { checkedVersion, pickToolchain } from './pick-toolchain.ts'

const rust = (version: string, arches: Toolchain['arches'] = ['x86_64']): Toolchain => ({
  language: 'rust',
  version,
  folder: `/opt/rust-${version}`,
  arches,
})
const go: Toolchain = { language: 'go', version: '1.26.8', folder: '/usr/local/go', arches: ['x86_64', 'arm64'] }
const here = [go, rust('1.96.0'), rust('1.75.0', ['x86_64', 'arm64'])]
const pick = (runtime: string, { arch = 'x86_64' as const, all = here }: PickOptions = {}): Toolchain =>
  pickToolchain(all, { language: runtime.startsWith('go') ? 'go' : 'rust', runtime, arch })
type PickOptions = { arch?: 'x86_64' | 'arm64'; all?: readonly Toolchain[] }

test('pickToolchain: the newest, or exactly the line that is named', () => {
  assert.equal(pick('rust').version, '1.96.0')
  assert.equal(pick('rust1.75').version, '1.75.0')
  assert.equal(pick('go').version, '1.26.8')
})

test('pickToolchain: never another Rust under a name, but any Go, which fetches the line that is named', () => {
  assert.throws(() => pick('rust1.9'), /Rust 1\.9 is not on this machine/)
  assert.throws(() => pick('rust1.75', { all: [go, rust('1.96.0')] }), {
    code: 'invalid',
    field: 'runtime',
    allowed: 'rust of 1.96.0',
    message:
      'Rust 1.75 is not on this machine. Install it with "rustup toolchain install 1.75" as the user that starts Hearth, start Hearth again, or take "rust".',
  })
  assert.equal(pick('go1.22').version, '1.26.8')
  assert.throws(() => pick('go1.22', { all: [] }), /Go is not on this machine/)
})

test('pickToolchain: one that builds for the processor; where none does, what it lacks', () => {
  assert.equal(pick('rust', { arch: 'arm64' }).version, '1.75.0')
  assert.equal(pick('go', { arch: 'arm64' }).version, '1.26.8')
  assert.throws(() => pick('rust', { arch: 'arm64', all: [rust('1.96.0')] }), {
    code: 'invalid',
    field: 'arch',
    message:
      'Rust 1.96.0 cannot build for arm64 here: it lacks the target or its linker. Run "rustup target add aarch64-unknown-linux-gnu --toolchain 1.96.0" and "apt-get install gcc-aarch64-linux-gnu", and start Hearth again.',
  })
})

test('checkedVersion: what compiled, in its own words, and no other line than was asked for', () => {
  const go122 = { language: 'go', runtime: 'go1.22' } as const
  assert.equal(checkedVersion('/tmp/out/program: go1.22.12', go122), '1.22.12')
  assert.equal(checkedVersion('/tmp/out/program: go1.27.1', { language: 'go', runtime: 'go' }), '1.27.1')
  assert.throws(() => checkedVersion('/tmp/out/program: go1.26.8', go122), {
    code: 'guest_failed',
    message: 'Cannot build: go1.22 was asked for, but what compiled says "/tmp/out/program: go1.26.8".',
  })
  const rust175 = { language: 'rust', runtime: 'rust1.75' } as const
  assert.throws(() => checkedVersion('rustc 1.76.0 (07dca489a 2024-02-04)', rust175), /rust1\.75 was asked for/)
  assert.throws(() => checkedVersion('', rust175), /rust1\.75 was asked for/)
})
