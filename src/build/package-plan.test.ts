import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import type { PackageTool } from '../domain/build.ts'
import { npmPlan } from './npm-plan.ts'
import { findPackageTools } from './package-tools.ts'
import type { Interpreter, PackagePlan, PackagePlanOptions } from './package-plan.ts'
import { pipPlan } from './pip-plan.ts'

const node26: Interpreter = { version: '26.10.0', executable: '/repo/node26/bin/node', prefix: '', isSeen: true }
const python: Interpreter = {
  version: '3.12.1',
  executable: '/py/3.12/bin/python3.12',
  prefix: '/py/3.12',
  isSeen: true,
}
const npm: PackageTool = { tool: 'npm', version: '11.19.1', folder: '/usr/lib/node_modules/npm' }
const pips: PackageTool[] = [
  { tool: 'pip', version: '24.2', folder: '/py/3.13/lib/python3.13/site-packages' },
  { tool: 'pip', version: '23.2', folder: '/py/3.12/lib/python3.12/site-packages' },
]
const manifest = '{"dependencies":{"hono":"4"}}'

function plan(
  of: typeof npmPlan,
  texts: Readonly<Record<string, string>>,
  rest: Partial<PackagePlanOptions> = {},
): PackagePlan {
  const interpreter = of === npmPlan ? node26 : python
  const tools = [npm, ...pips]
  return of({ texts: new Map(Object.entries(texts)), tools, interpreter, runner: node26, ...rest })
}

test('npmPlan takes the lock that is there, and names it', () => {
  const free = plan(npmPlan, { 'package.json': manifest })
  assert.deepEqual([free.lock, free.steps[0]?.title, free.steps[0]?.argv[2]], [null, 'npm install', 'install'])
  const locked = plan(npmPlan, { 'package.json': manifest, 'package-lock.json': '{}', 'yarn.lock': '' })
  assert.deepEqual(
    [locked.lock, locked.steps[0]?.title, locked.steps[0]?.argv[2]],
    ['package-lock.json', 'npm ci with package-lock.json', 'ci'],
  )
  const both = { 'package.json': manifest, 'package-lock.json': '{}', 'npm-shrinkwrap.json': '{}' }
  assert.equal(plan(npmPlan, both).lock, 'npm-shrinkwrap.json')
})

test("npmPlan runs npm on the function's Node where it can", () => {
  const texts = { 'package.json': manifest }
  const node22 = { ...node26, version: '22.1.0', executable: '/repo/node22/bin/node' }
  assert.match(plan(npmPlan, texts, { interpreter: node22 }).env['PATH'] ?? '', /^\/repo\/node22\/bin:/)
  assert.equal(plan(npmPlan, texts, { interpreter: node22 }).toolchain, 'npm 11.19.1, node 22.1.0')
  for (const other of [
    { ...node22, version: '18.1.0' },
    { ...node22, isSeen: false },
  ]) {
    const { env, toolchain } = plan(npmPlan, texts, { interpreter: other })
    assert.match(env['PATH'] ?? '', /^\{runner\}:/)
    assert.equal(toolchain, 'npm 11.19.1, node 26.10.0')
  }
})

test('npmPlan refuses what it cannot install, by name', () => {
  assert.throws(() => plan(npmPlan, {}), /a folder with package\.json/)
  assert.throws(() => plan(npmPlan, { 'package.json': '{' }), /package\.json is not JSON/)
  assert.throws(() => plan(npmPlan, { 'package.json': '{"dependencies":{}}' }), /nothing to install/)
  assert.throws(() => plan(npmPlan, { 'package.json': manifest, 'pnpm-lock.yaml': '' }), {
    value: 'pnpm-lock.yaml',
    message: /npm, which reads no other lock/,
  })
  assert.throws(() => plan(npmPlan, { 'package.json': manifest }, { tools: pips }), /npm is not on this machine/)
})

test("pipPlan runs pip on the function's Python, by its own pip if it has one", () => {
  const own = plan(pipPlan, { 'requirements.txt': 'six' })
  assert.deepEqual([own.toolchain, own.lock], ['pip 23.2, python 3.12.1', null])
  assert.deepEqual([own.steps[0]?.argv[0], own.steps[0]?.argv[4]], [python.executable, pips[1]?.folder])
  const other = { ...python, prefix: '/py/3.11', executable: '/py/3.11/bin/python3.11' }
  assert.equal(plan(pipPlan, { 'requirements.txt': 'six' }, { interpreter: other }).steps[0]?.argv[4], pips[0]?.folder)
  const digests = { 'requirements.txt': `six==1.16.0 --hash=sha256:${'0'.repeat(64)}` }
  assert.equal(plan(pipPlan, digests).lock, 'requirements.txt')
})

test('pipPlan refuses what it cannot install, by name', () => {
  assert.throws(() => plan(pipPlan, {}), /requirements\.txt at its top/)
  assert.throws(() => plan(pipPlan, { 'requirements.txt': 'six' }, { tools: [npm] }), /pip is not on this machine/)
  const hidden = { ...python, isSeen: false }
  assert.throws(() => plan(pipPlan, { 'requirements.txt': 'six' }, { interpreter: hidden }), /python3\.12 lies where/)
})

test('findPackageTools finds npm by its command and pip beside the Pythons of pyenv, newest first', async () => {
  const home = mkdtempSync(path.join(os.tmpdir(), 'hearth-tools-'))
  try {
    const put = (name: string, text: string): void => {
      mkdirSync(path.dirname(path.join(home, name)), { recursive: true })
      writeFileSync(path.join(home, name), text)
    }
    put('lib/npm/bin/npm-cli.js', '')
    put('lib/npm/package.json', '{"version":"99.1.0"}')
    put('bin/.keep', '')
    symlinkSync('../lib/npm/bin/npm-cli.js', path.join(home, 'bin/npm'))
    put('.pyenv/versions/3.12.1/lib/python3.12/site-packages/pip/__main__.py', '')
    put('.pyenv/versions/3.12.1/lib/python3.12/site-packages/pip-99.2.dist-info/RECORD', '')
    put('.pyenv/versions/3.11.1/lib/python3.11/site-packages/pip-99.1.dist-info/RECORD', '')
    const found = await findPackageTools({ path: [path.join(home, 'bin'), path.join(home, 'absent')], home })
    const own = found.filter(({ folder }) => folder.startsWith(home))
    assert.deepEqual(own, [
      { tool: 'pip', version: '99.2', folder: path.join(home, '.pyenv/versions/3.12.1/lib/python3.12/site-packages') },
      { tool: 'npm', version: '99.1.0', folder: path.join(home, 'lib/npm') },
    ])
  } finally {
    rmSync(home, { recursive: true })
  }
})
