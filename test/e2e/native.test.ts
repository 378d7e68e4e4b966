import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { toolMissing } from '../../runtimes/support/native.ts'
import { startPlatform, type CliResult, type Platform } from '../support/platform.ts'

/* Go and Rust from source: built by the platform in a sandbox, called through it. */

const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-native-'))
const isRoot = process.getuid?.() === 0
const go = isRoot ? toolMissing('go') : 'needs root: without it builds have no sandbox that shows them a toolchain'
const rust = isRoot ? toolMissing('cargo') : 'needs root: without it builds have no sandbox that shows them a toolchain'
let platform: Platform
before(async () => {
  platform = await startPlatform()
})
after(async () => {
  await platform.stop()
  rmSync(folder, { recursive: true, force: true })
})

function source(name: string, files: Readonly<Record<string, string>>): string {
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, name, file)), { recursive: true })
    writeFileSync(path.join(folder, name, file), text)
  }
  return path.join(folder, name)
}

type Deploy = 'create' | 'update'
async function deploy(
  name: string,
  runtime: string,
  files: Record<string, string>,
  how: Deploy = 'create',
): Promise<CliResult> {
  const code = source(`${name}-${how}-${Object.keys(files).length}`, files)
  const named = how === 'create' ? ['create', '--name', name, '--runtime', runtime] : ['update', name]
  return platform.cli(['function', ...named, '--code', code])
}

async function works(deploying: Promise<CliResult>): Promise<string> {
  const { code, stderr } = await deploying
  assert.equal(code, 0, stderr)
  return stderr
}

async function call(name: string, event: unknown): Promise<unknown> {
  const { stdout, stderr, code } = await platform.cli(['function', 'invoke', name, '--data', JSON.stringify(event)])
  assert.equal(code, 0, stderr)
  return JSON.parse(stdout)
}

const goMod = 'module example.com/orders\n\ngo 1.21\n'
const goHandler = (greeting: string): string => `package main

import (
	"context"
	"fmt"
	"os"
)

type Event struct{ Name string }

func Handler(ctx context.Context, event Event) (map[string]string, error) {
	asset, err := os.ReadFile("greeting.txt")
	run, _ := os.Stat("run.sh")
	if run != nil && run.Mode().Perm() != 0o755 {
		return nil, fmt.Errorf("run.sh has mode %o", run.Mode().Perm())
	}
	return map[string]string{"text": string(asset) + "${greeting} " + event.Name}, err
}
`

test('a Go handler without any dependency is built and called; its files are beside it', { skip: go }, async () => {
  const files = { 'go.mod': goMod, 'main.go': goHandler('hello'), 'texts/greeting.txt': '> ', 'run.sh': '#!/bin/sh\n' }
  const code = source('orders-create-4', files)
  chmodSync(path.join(code, 'run.sh'), 0o755)
  symlinkSync('texts/greeting.txt', path.join(code, 'greeting.txt'))
  assert.match(await works(deploy('orders', 'go', files)), /Built hearth-bootstrap \(.* zipped\) with go 1\.\d+/)
  assert.deepEqual(await call('orders', { name: 'you' }), { text: '> hello you' })
})

test(
  "a Go source that does not compile shows the compiler's words, and the old version serves on",
  { skip: go },
  async () => {
    const failed = await deploy(
      'orders',
      'go',
      { 'go.mod': goMod, 'main.go': goHandler('hello').replace('os.ReadFile', 'os.ReedFile') },
      'update',
    )
    assert.notEqual(failed.code, 0)
    assert.match(failed.stderr, /go build ended with 1/)
    assert.match(failed.stderr, /main\.go:12:\d+: undefined: os\.ReedFile/)
    assert.deepEqual(await call('orders', { name: 'you' }), { text: '> hello you' })
  },
)

test('a Go source with a handler that is not there is refused by name', { skip: go }, async () => {
  const failed = await deploy('absent', 'go', { 'go.mod': goMod, 'main.go': 'package main\n\nfunc Other() {}\n' })
  assert.match(failed.stderr, /it has no "func Handler"/)
})

test('a private module is named, and no other host is asked for it', { skip: go }, async () => {
  const main = `package main\n\nimport "git.corp.example/secret/lib"\n\nfunc Handler() { lib.Run() }\n`
  const mod = `${goMod}\nrequire git.corp.example/secret/lib v1.2.3\n`
  const failed = await deploy('private', 'go', { 'go.mod': mod, 'main.go': main })
  assert.notEqual(failed.code, 0)
  assert.match(failed.stderr, /git\.corp\.example\/secret\/lib/)
})

test('a Go main that uses aws-lambda-go is built as it is', { skip: go }, async () => {
  const main = `package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

func main() {
	lambda.Start(func(ctx context.Context, event map[string]string) (string, error) {
		about, _ := lambdacontext.FromContext(ctx)
		return event["name"] + " " + about.InvokedFunctionArn, nil
	})
}
`
  const mod = `${goMod}\nrequire github.com/aws/aws-lambda-go v1.49.0\n`
  const sum = `github.com/aws/aws-lambda-go v1.49.0 h1:z4VhTqkFZPM3xpEtTqWqRqsRH4TZBMJqTkRiBPYLqIQ=
github.com/aws/aws-lambda-go v1.49.0/go.mod h1:dpMpZgvWx5vuQJfBt0zqBha60q7Dd7RfgJv23DymV8A=
`
  const broken = { 'go.mod': mod, 'main.go': main, 'go.sum': sum.replace('h1:z4', 'h1:z5') }
  assert.match((await deploy('lambda', 'go', broken)).stderr, /checksum mismatch/)
  await works(deploy('lambda', 'go', { 'go.mod': mod, 'main.go': main, 'go.sum': sum }))
  assert.match(String(await call('lambda', { name: 'you' })), /^you arn:aws:lambda:.*:function:lambda$/)
})

const cargo = '[package]\nname = "orders"\nversion = "0.1.0"\nedition = "2021"\n\n[dependencies]\nserde_json = "1"\n'
const rustHandler = `use serde_json::{json, Value};

async fn handler(event: Value, context: hearth_runtime::Context) -> Result<Value, String> {
    Ok(json!({ "text": format!("hello {}", event["name"].as_str().unwrap_or("")), "function": context.function_name }))
}
`

test('an async Rust handler is built and called', { skip: rust }, async () => {
  assert.match(
    await works(deploy('rusty', 'rust', { 'Cargo.toml': cargo, 'src/main.rs': rustHandler })),
    /Built hearth-bootstrap .* with rust 1\./,
  )
  assert.deepEqual(await call('rusty', { name: 'you' }), { text: 'hello you', function: 'rusty' })
})

test('a Rust library of bytes is built and called, and fails as Rust says', { skip: rust }, async () => {
  const manifest = '[package]\nname = "count-bytes"\nversion = "0.1.0"\nedition = "2021"\n'
  const library = 'pub fn handler(event: Vec<u8>) -> Result<usize, std::io::Error> {\n    Ok(event.len())\n}\n'
  await works(deploy('bytes', 'rust', { 'Cargo.toml': manifest, 'src/lib.rs': library }))
  assert.equal(await call('bytes', { a: 1 }), 7)
  const failed = await deploy(
    'bytes',
    'rust',
    { 'Cargo.toml': manifest, 'src/lib.rs': library.replace('usize', 'String') },
    'update',
  )
  assert.match(failed.stderr, /error\[E0308\]: mismatched types/)
  assert.equal(await call('bytes', { a: 1 }), 7)
})

test('a Cargo.lock that does not fit Cargo.toml is refused, naming it', { skip: rust }, async () => {
  const lock = 'version = 3\n\n[[package]]\nname = "orders"\nversion = "0.1.0"\n'
  const failed = await deploy('locked', 'rust', { 'Cargo.toml': cargo, 'src/main.rs': rustHandler, 'Cargo.lock': lock })
  assert.match(failed.stderr, /cargo fetch ended with 101/)
  assert.match(
    failed.stderr,
    /lock file .*Cargo\.lock needs to be updated but --locked was passed|cannot update the lock file/,
  )
})

test('rust1.75 without such a toolchain says how to get it', { skip: rust }, async () => {
  const failed = await deploy('old', 'rust1.75', { 'Cargo.toml': cargo, 'src/main.rs': rustHandler })
  assert.match(failed.stderr, /Rust 1\.75 is not on this machine\. Install it with "rustup toolchain install 1\.75"/)
})

test('the same source gives the same bundle, by hearth init and without naming its runtime', { skip: go }, async () => {
  const code = path.join(folder, 'started')
  assert.equal((await platform.cli(['init', 'go', code])).code, 0)
  const digests: string[] = []
  for (const name of ['twice-a', 'twice-b']) {
    const args = ['function', 'create', '--name', name, '--code', code, '--json']
    const { stdout, stderr, code: status } = await platform.cli(args)
    assert.equal(status, 0, stderr)
    assert.match(stderr, /Inferred --runtime go --handler main\.Handler from go\.mod/)
    const made: { codeDigest: string } = JSON.parse(stdout)
    digests.push(made.codeDigest)
  }
  assert.equal(digests[0], digests[1])
  assert.deepEqual(await call('twice-a', { name: 'you' }), { greeting: 'Hello, you!' })
})
