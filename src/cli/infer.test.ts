import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { inferRuntime } from './infer.ts'

async function inferred(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-infer-'))
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text)
    const { runtime, handler, from } = await inferRuntime('/', folder)
    return `${runtime} ${handler} ${from}`
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test('inferRuntime takes what leaves no doubt', async () => {
  assert.equal(await inferred({ 'go.mod': '', 'main.go': '' }), 'go main.Handler go.mod')
  assert.equal(await inferred({ 'Cargo.toml': '' }), 'rust main::handler Cargo.toml')
  assert.equal(await inferred({ 'index.mjs': '', 'package.json': '{}' }), 'node index.handler index.mjs')
  assert.equal(await inferred({ 'package.json': '{"main":"./src/app.js"}' }), 'node src/app.handler package.json')
  assert.equal(await inferred({ 'lambda_function.py': '' }), 'python lambda_function.lambda_handler lambda_function.py')
  assert.equal(await inferred({ bootstrap: '' }), 'provided undefined bootstrap')
})

test('inferRuntime asks where there is a doubt', async () => {
  await assert.rejects(inferred({ 'go.mod': '', 'Cargo.toml': '' }), /could be go or rust/)
  await assert.rejects(inferred({ 'index.js': '', 'main.py': '' }), /could be node or python/)
  await assert.rejects(inferred({ 'notes.txt': '' }), /Give --runtime/)
})
