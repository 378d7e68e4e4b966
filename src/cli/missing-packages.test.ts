import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { missingPackages } from './missing-packages.ts'

async function missing(runtime: string, files: Readonly<Record<string, string>>): Promise<string | null> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-packages-'))
  try {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(path.dirname(path.join(folder, name)), { recursive: true })
      writeFileSync(path.join(folder, name), text)
    }
    return await missingPackages(folder, runtime)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const manifest = '{"dependencies":{"hono":"4"}}'

test('missingPackages names package.json when its dependencies are not there', async () => {
  assert.equal(await missing('node24', { 'package.json': manifest }), 'package.json')
  assert.equal(await missing('nodejs24.x', { 'package.json': manifest, 'a/node_modules/x.js': '' }), 'package.json')
  const ignored = { '.hearthignore': 'node_modules/\n', 'node_modules/hono/index.js': '' }
  assert.equal(await missing('node', { 'package.json': manifest, ...ignored }), 'package.json')
})

test('missingPackages names requirements.txt when nothing is installed', async () => {
  assert.equal(await missing('python', { 'requirements.txt': '# web\nfastapi\n' }), 'requirements.txt')
})

test('missingPackages is silent where nothing is named, or all is there', async () => {
  assert.equal(await missing('node', { 'package.json': '{"devDependencies":{"x":"1"}}' }), null)
  assert.equal(await missing('node', { 'package.json': '{"dependencies":{}}' }), null)
  assert.equal(await missing('node', { 'package.json': manifest, 'node_modules/hono/index.js': '' }), null)
  assert.equal(await missing('node', { 'requirements.txt': 'fastapi' }), null)
  assert.equal(await missing('python', { 'requirements.txt': '# none\n\n' }), null)
  const installed = { 'requirements.txt': 'x', 'x-1.0.dist-info/RECORD': '' }
  assert.equal(await missing('python3.12', installed), null)
  assert.equal(await missing('http', { 'package.json': manifest }), null)
})
