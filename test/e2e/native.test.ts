import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { buffer } from 'node:stream/consumers'
import { openPromise } from 'yauzl'
import { toolMissing } from '../../runtimes/support/native.ts'
import { Layout } from '../../src/artifact/layout.ts'
import { parseDigest, type Digest } from '../../src/domain/artifact.ts'
import { call as request, upload, zipOf } from '../support/functions.ts'
import { startPlatform, type CliResult } from '../support/platform.ts'
import { openWorkbench, works } from '../support/workbench.ts'

/* Go and Rust from source: built by the platform in a sandbox, called through it. */

const bench = openWorkbench('native')
const { folder } = bench
const isRoot = process.getuid?.() === 0
const go = isRoot ? toolMissing('go') : 'needs root: without it builds have no sandbox that shows them a toolchain'
const rust = isRoot ? toolMissing('cargo') : 'needs root: without it builds have no sandbox that shows them a toolchain'

type Deploy = 'create' | 'update'
async function deploy(
  name: string,
  runtime: string,
  files: Record<string, string>,
  how: Deploy = 'create',
): Promise<CliResult> {
  const code = bench.source(`${name}-${how}-${Object.keys(files).length}`, files)
  const named = how === 'create' ? ['create', '--name', name, '--runtime', runtime] : ['update', name]
  return bench.platform.cli(['function', ...named, '--code', code])
}

function digestIn(json: string): string {
  const { codeDigest }: { codeDigest: string } = JSON.parse(json)
  assert.match(codeDigest, /^sha256:/)
  return codeDigest
}

async function call(name: string, event: unknown): Promise<unknown> {
  const { stdout, stderr, code } = await bench.platform.cli([
    'function',
    'invoke',
    name,
    '--data',
    JSON.stringify(event),
  ])
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
  const code = bench.source('orders-create-4', files)
  chmodSync(path.join(code, 'run.sh'), 0o755)
  symlinkSync('texts/greeting.txt', path.join(code, 'greeting.txt'))
  assert.match(
    (await works(deploy('orders', 'go', files))).stderr,
    /Built hearth-bootstrap \(.* zipped\) with go 1\.\d+/,
  )
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
    assert.match(failed.stderr, /Cache: Go's standard library\./)
    assert.deepEqual(await call('orders', { name: 'you' }), { text: '> hello you' })
  },
)

test(
  'a Go source is built for another processor too, and then placed nowhere but on nodes of it',
  { skip: go },
  async () => {
    const [foreign, here, machine] = process.arch === 'arm64' ? ['x86_64', 'arm64', 62] : ['arm64', 'x86_64', 183]
    const artifact = await upload(bench.platform, await zipOf({ 'go.mod': goMod, 'main.go': goHandler('hello') }))
    const built = await request(bench.platform, 'POST', '/v1/builds', { artifact, runtime: 'go', arch: foreign })
    const bundle = parseDigest(/"artifact":"([^"]+)"/.exec(built.body.toString())?.[1] ?? '')
    assert.ok(bundle !== undefined, built.body.toString())
    assert.equal((await entryOf(bundle, 'hearth-bootstrap')).readUInt16LE(18), machine)
    const args = { name: 'foreign', runtime: 'go', arch: foreign, code: { artifact: bundle } }
    const refused = await request(bench.platform, 'POST', '/v1/functions', args)
    assert.equal(refused.status, 400)
    assert.match(
      refused.body.toString(),
      new RegExp(`Invalid arch \\\\"${foreign}\\\\": must be ${here}, the only architecture of this platform's nodes`),
    )
  },
)

/** One file of a bundle that the platform holds. */
async function entryOf(digest: Digest, name: string): Promise<Buffer> {
  const zip = await openPromise(new Layout(bench.platform.data).blob(digest))
  for await (const entry of zip.eachEntry())
    if (entry.fileName === name) return buffer(await zip.openReadStreamPromise(entry))
  throw new Error(`There is no ${name} in ${digest}.`)
}

test('a Go source with a handler that is not there is refused by name', { skip: go }, async () => {
  const failed = await deploy('absent', 'go', { 'go.mod': goMod, 'main.go': 'package main\n\nfunc Other() {}\n' })
  assert.match(failed.stderr, /it has no "func Handler"/)
})

test('a private module is named, and no other host is asked for it', { skip: go }, async () => {
  const main = `package main\n\nimport "git.corp.example/secret/lib"\n\nfunc Handler() { lib.Run() }\n`
  const mod = `${goMod}\nrequire git.corp.example/secret/lib v1.2.3\n`
  const hash = 'h1:z4VhTqkFZPM3xpEtTqWqRqsRH4TZBMJqTkRiBPYLqIQ='
  const sum = ['', '/go.mod'].map((of) => `git.corp.example/secret/lib v1.2.3${of} ${hash}\n`).join('')
  const failed = await deploy('private', 'go', { 'go.mod': mod, 'go.sum': sum, 'main.go': main })
  assert.notEqual(failed.code, 0)
  assert.match(
    failed.stderr,
    /go\.mod requires git\.corp\.example\/secret\/lib, which proxy\.golang\.org does not have/,
  )
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
  const mismatch = (await deploy('lambda', 'go', broken)).stderr
  assert.match(
    mismatch,
    /go\.sum has another checksum for github\.com\/aws\/aws-lambda-go@v1\.49\.0 [^]*checksum mismatch/,
  )
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
    (await works(deploy('rusty', 'rust', { 'Cargo.toml': cargo, 'src/main.rs': rustHandler }))).stderr,
    /Built hearth-bootstrap .* with rust 1\./,
  )
  assert.deepEqual(await call('rusty', { name: 'you' }), { text: 'hello you', function: 'rusty' })
})

test(
  'what a build left gives the same bundle as nothing did, and another program for another source',
  { skip: rust },
  async () => {
    const files = { 'Cargo.toml': cargo, 'src/main.rs': rustHandler }
    const code = bench.source('rusty-again', files)
    const { stdout } = await works(
      bench.platform.cli(['function', 'create', '--name', 'rusty-again', '--code', code, '--json']),
    )
    assert.equal(
      digestIn(stdout),
      digestIn((await works(bench.platform.cli(['function', 'get', 'rusty', '--json']))).stdout),
    )
    const other = rustHandler.replace('hello', 'goodbye')
    await works(deploy('rusty', 'rust', { ...files, 'src/main.rs': other }, 'update'))
    assert.deepEqual(await call('rusty', { name: 'you' }), { text: 'goodbye you', function: 'rusty' })
  },
)

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
  assert.match(failed.stderr, /Cache: what a build with another lock file left\./)
  assert.equal(await call('bytes', { a: 1 }), 7)
})

test('a Cargo.lock that does not fit Cargo.toml is refused, naming it', { skip: rust }, async () => {
  const lock = 'version = 3\n\n[[package]]\nname = "orders"\nversion = "0.1.0"\n'
  const failed = await deploy('locked', 'rust', { 'Cargo.toml': cargo, 'src/main.rs': rustHandler, 'Cargo.lock': lock })
  assert.match(failed.stderr, /cargo fetch ended with 101\. Cargo\.lock does not fit Cargo\.toml\./)
  assert.match(
    failed.stderr,
    /lock file .*Cargo\.lock needs to be updated but --locked was passed|cannot update the lock file/,
  )
})

const rustup = path.join(os.homedir(), '.rustup/toolchains')
const rust175 = existsSync(rustup) && readdirSync(rustup).some((name) => name.startsWith('1.75'))

test(
  'rust1.75 without such a toolchain says how to get it',
  { skip: rust || (rust175 && 'Rust 1.75 is on this machine') },
  async () => {
    const failed = await deploy('old', 'rust1.75', { 'Cargo.toml': cargo, 'src/main.rs': rustHandler })
    assert.match(failed.stderr, /Rust 1\.75 is not on this machine\. Install it with "rustup toolchain install 1\.75"/)
  },
)

const tooLong =
  process.env['HEARTH_TEST_TIER'] === 'torture'
    ? false
    : 'downloads compilers, or compiles a standard library: `npm run torture` runs it'

test('a line of Go that is named is what compiles, whatever go.mod would take', { skip: go || tooLong }, async () => {
  const main = `package main\n\nimport "runtime"\n\nfunc Handler() (string, error) { return runtime.Version(), nil }\n`
  const files = { 'go.mod': goMod, 'main.go': main }
  assert.match((await works(deploy('go122', 'go1.22', files))).stderr, /with go 1\.22\.12 in/)
  assert.equal(await call('go122', {}), 'go1.22.12')
  const mod = 'module example.com/orders\n\ngo 1.25\n'
  assert.match(
    (await deploy('go122', 'go1.22', { 'go.mod': mod, 'main.go': main }, 'update')).stderr,
    /go\.mod requires go >= 1\.25/,
  )
  assert.equal(await call('go122', {}), 'go1.22.12')
})

test('rust1.75 is built with Rust 1.75, once rustup has it', { skip: rust || tooLong }, async () => {
  // Sandboxes have a /tmp of their own.
  const rustupHome = mkdtempSync(path.join(os.homedir(), '.hearth-test-rustup-'))
  const env = { ...process.env, RUSTUP_HOME: rustupHome }
  const install = ['toolchain', 'install', '1.75', '--profile', 'minimal', '--no-self-update']
  execFileSync('rustup', install, { env, stdio: 'ignore' })
  const own = await startPlatform({ env: { RUSTUP_HOME: rustupHome } })
  try {
    const code = bench.source('old', {
      'Cargo.toml': cargo,
      'src/main.rs': rustHandler,
    })
    const made = await own.cli(['function', 'create', '--name', 'old', '--runtime', 'rust1.75', '--code', code])
    assert.equal(made.code, 0, made.stderr)
    assert.match(made.stderr, /with rust 1\.75\.0 in/)
    const { stdout } = await own.cli(['function', 'invoke', 'old', '--data', '{"name":"you"}'])
    assert.deepEqual(JSON.parse(stdout), { text: 'hello you', function: 'old' })
  } finally {
    await own.stop()
    rmSync(rustupHome, { recursive: true, force: true })
  }
})

test('the same source gives the same bundle, by hearth init and without naming its runtime', { skip: go }, async () => {
  const code = path.join(folder, 'started')
  assert.equal((await bench.platform.cli(['init', 'go', code])).code, 0)
  const digests: string[] = []
  for (const name of ['twice-a', 'twice-b']) {
    const args = ['function', 'create', '--name', name, '--code', code, '--json']
    const { stdout, stderr } = await works(bench.platform.cli(args))
    assert.match(stderr, /Inferred --runtime go --handler main\.Handler from go\.mod/)
    digests.push(digestIn(stdout))
  }
  assert.equal(digests[0], digests[1])
  assert.deepEqual(await call('twice-a', { name: 'you' }), { greeting: 'Hello, you!' })
})

test('Go gives the same program without any cache as with one', { skip: go || tooLong }, async () => {
  const data = mkdtempSync(path.join(os.tmpdir(), 'hearth-cold-'))
  // A file where the cache would be made: nothing is read, and nothing kept.
  mkdirSync(path.join(data, 'cache'))
  writeFileSync(path.join(data, 'cache/builds'), '')
  const cold = await startPlatform({ env: { HEARTH_CACHE: path.join(data, 'cache') } })
  try {
    const args = ['function', 'create', '--name', 'cold', '--code', path.join(folder, 'started'), '--json']
    const { stdout } = await works(cold.cli(args))
    const known = await works(bench.platform.cli(['function', 'get', 'twice-a', '--json']))
    assert.equal(digestIn(stdout), digestIn(known.stdout))
  } finally {
    await cold.stop()
    rmSync(data, { recursive: true, force: true })
  }
})
