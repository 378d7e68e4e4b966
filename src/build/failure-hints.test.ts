import assert from 'node:assert/strict'
import { test } from 'node:test'
import { failureHint } from './failure-hints.ts'

for (const [said, hint] of [
  [
    'main.go:3:8: missing go.sum entry for module providing package example.com/x (imported by a); to add:',
    /^go\.sum lacks .* "go mod tidy"/,
  ],
  [
    'main.go:3:8: git.corp.example/!secret/lib@v1.2.3: reading https://proxy.golang.org/git.corp.example/!secret/lib/@v/v1.2.3.zip: 404 Not Found',
    /^go\.mod requires git\.corp\.example\/Secret\/lib, .* "go mod vendor"/,
  ],
  [
    'verifying example.com/x@v1.0.0: checksum mismatch\n\tdownloaded: h1:a=\n\tgo.sum:     h1:b=',
    /^go\.sum has another checksum for example\.com\/x@v1\.0\.0 /,
  ],
  [
    'go: go.mod requires go >= 1.25 (running go 1.22.12; GOTOOLCHAIN=go1.22.12)',
    /^go\.mod asks for Go 1\.25, the runtime is Go 1\.22\.12\. Take runtime "go"/,
  ],
  [
    'error: the lock file /tmp/source/Cargo.lock needs to be updated but --locked was passed to prevent this',
    /^Cargo\.lock does not fit Cargo\.toml\./,
  ],
  [
    'error: cannot update the lock file /tmp/source/Cargo.lock because --locked was passed to prevent this',
    /^Cargo\.lock does not fit Cargo\.toml\./,
  ],
  [
    'error: checksum for `serde v1.0.0` changed between lock files',
    /^Cargo\.lock has another checksum for serde v1\.0\.0 than crates\.io/,
  ],
  [
    '  Unable to update https://git.corp.example/lib.git',
    /^Cargo\.toml needs https:\/\/git\.corp\.example\/lib\.git: /,
  ],
  ['error: rustc 1.75.0 is not supported: time@0.3.47 requires rustc 1.88.0', /^A crate needs Rust 1\.88\.0 or newer/],
] as const)
  test(`failureHint names the file or the version: ${said.slice(0, 60)}`, () => {
    assert.match(failureHint(['Compiling x', ...said.split('\n')]) ?? '', hint)
  })

test('failureHint leaves what only the compiler can say', () => {
  assert.equal(failureHint(['main.go:11:3: undefined: os.ReedFile']), null)
})
