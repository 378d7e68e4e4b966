import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { inferRuntime, kindFlags } from './infer.ts'

async function inferred(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-infer-'))
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text)
    const { from, ...kind } = await inferRuntime('/', folder)
    return `${kindFlags(kind)} from ${from}`
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test('inferRuntime takes what leaves no doubt', async () => {
  for (const [files, expected] of [
    [{ 'go.mod': '', 'main.go': '' }, '--runtime go --handler main.Handler from go.mod'],
    [{ 'Cargo.toml': '' }, '--runtime rust --handler main::handler from Cargo.toml'],
    [{ 'index.mjs': '', 'package.json': '{}' }, '--runtime node --handler index.handler from index.mjs'],
    [{ 'package.json': '{"main":"./src/app.js"}' }, '--runtime node --handler src/app.handler from package.json'],
    [
      { 'index.ts': '// a handler\nexport default { fetch() {} }' },
      '--runtime node --handler index.default from index.ts',
    ],
    [{ 'index.mjs': 'export async function handler() {}' }, '--runtime node --handler index.handler from index.mjs'],
    [{ 'main.py': 'def lambda_handler(e, c): ...' }, '--runtime python --handler main.lambda_handler from main.py'],
    [{ 'lambda_function.py': '' }, '--runtime python --handler lambda_function.lambda_handler from lambda_function.py'],
    [{ bootstrap: '' }, '--runtime provided from bootstrap'],
  ] as const)
    assert.equal(await inferred(files), expected)
})

test('inferRuntime takes a server for what it is, with what starts it', async () => {
  const goMain = 'package main\n\nfunc main() {\n\thttp.ListenAndServe(":8080", nil)\n}\n'
  const npmStart = '{"scripts":{"start":"node server.js --quiet"}}'
  const fastapi = { 'main.py': 'app = FastAPI()\n', 'requirements.txt': 'fastapi\nuvicorn==1.0\n' }
  for (const [files, expected] of [
    [{ 'go.mod': '', 'main.go': goMain }, '--runtime go --contract http from go.mod'],
    [{ 'go.mod': '', 'main.go': `${goMain}// aws-lambda-go` }, '--runtime go --handler main.Handler from go.mod'],
    [{ 'Cargo.toml': '[dependencies]\naxum = "0.8"\n' }, '--runtime rust --contract http from Cargo.toml'],
    [
      { 'package.json': npmStart },
      "--runtime node --contract http --command 'node server.js --quiet' from package.json",
    ],
    [
      { 'package.json': npmStart, 'index.js': 'exports.handler = 1' },
      '--runtime node --handler index.handler from index.js',
    ],
    [
      { 'package.json': '{"scripts":{"start":"A=1 node ."}}' },
      `--runtime node --contract http --command 'sh -c "A=1 node ."' from package.json`,
    ],
    [
      fastapi,
      "--runtime python --contract http --command 'python3 -m uvicorn main:app --host 0.0.0.0 --port 8080' from main.py",
    ],
    [{ 'main.py': fastapi['main.py'] }, '--runtime python --handler main.handler from main.py'],
    [{ 'run.sh': '', 'package.json': npmStart }, '--runtime node --contract http from run.sh'],
    [{ 'run.sh': '' }, '--runtime http --contract http from run.sh'],
    [{ 'host.json': '{"customHandler":{}}' }, '--runtime provided --contract azure from host.json'],
  ] as const)
    assert.equal(await inferred(files), expected)
})

test('inferRuntime asks where there is a doubt', async () => {
  await assert.rejects(inferred({ 'go.mod': '', 'Cargo.toml': '' }), /could be go or rust/)
  await assert.rejects(inferred({ 'index.js': '', 'main.py': '' }), /could be node or python/)
  await assert.rejects(inferred({ 'notes.txt': '' }), /Give --runtime/)
})
