import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { node, nodeHarness, nodeShim } from '../support/runtimes.ts'
import { codeFolder } from '../support/subject.ts'

/* The bundle of the Node shim, and what a runtime does while it waits. */

const name = `test-${process.pid}`
const target = path.join(nodeShim, '.bundle', name)
const { spawn, start } = nodeHarness(name)
const [program = '', ...flags] = node

before(() => {
  execFileSync(program, [...flags, path.join(nodeShim, 'bundle.cjs'), name], { stdio: 'inherit' })
})
after(() => {
  for (const suffix of ['js', 'cache']) rmSync(`${target}.${suffix}`, { force: true })
})

describe('Node runtime: the bundle', () => {
  test('its bytecode is taken by the interpreter and flags that it was made for', () => {
    const check = `
      const [source, cachedData] = [fs.readFileSync('${target}.js', 'latin1'), fs.readFileSync('${target}.cache')]
      console.log(new vm.Script(source, { cachedData }).cachedDataRejected)`
    assert.equal(execFileSync(program, [...flags, '-e', check], { encoding: 'utf8' }), 'false\n')
  })

  test('serves CommonJS, ES modules, streams and failures; its own lines are in no stack', async () => {
    const modules = `import path from 'node:path'; export const handler = async (event) => path.basename(event.file)`
    const esm = await start({ 'index.mjs': modules })
    assert.equal(await esm.json({ file: '/a/b.txt' }), 'b.txt')
    const failing = await start({
      'index.js': `exports.handler = async () => { console.log('\\u00e9'); throw new Error('no') }`,
    })
    const { error } = await failing.call()
    assert.equal(error?.errorMessage, 'no')
    assert.ok(
      error?.stackTrace.every((line) => line.includes('index.js')),
      error?.stackTrace.join('\n'),
    )
    assert.equal(failing.logged(), '\u00e9\n')
    const streaming = await start({
      'index.js': `exports.handler = awslambda.streamifyResponse(async (event, out) => { out.write('a'); out.end('b') })`,
    })
    assert.equal((await streaming.call()).body.toString(), 'ab')
  })

  test('a damaged one costs only time', async () => {
    const whole = readFileSync(`${target}.cache`)
    writeFileSync(`${target}.cache`, whole.subarray(0, 100))
    try {
      const subject = await start({ 'index.js': 'exports.handler = async () => 1' })
      assert.equal(await subject.json(), 1)
    } finally {
      writeFileSync(`${target}.cache`, whole)
    }
  })

  test('user code sees neither its name nor the flags', async () => {
    const subject = await start({ 'index.js': 'exports.handler = async () => [process.argv.length, process.execArgv]' })
    assert.deepEqual(await subject.json(), [2, []])
  })
})

describe('Node runtime: waiting', () => {
  const work = `
    const { setTimeout: delay } = require('node:timers/promises')
    let ticks = 0
    exports.handler = async ({ how, ms }, context) => {
      if (how === 'timer') await delay(ms)
      if (how === 'signal') return new Promise((resolve) => context.signal.addEventListener('abort', () => resolve('aborted')))
      if (how === 'left behind') setInterval(() => ticks++, 1)
      return { how, ticks }
    }`

  test('PING before BIND warms up, and the Instance serves as any other', async () => {
    const subject = spawn()
    await subject.hello
    await subject.link.ping()
    await subject.bind(codeFolder({ 'index.js': work }), 'index.handler')
    assert.deepEqual(await subject.json({ how: 'plain' }), { how: 'plain', ticks: 0 })
    assert.deepEqual(await subject.json({ how: 'timer', ms: 5 }), { how: 'timer', ticks: 0 })
    await subject.link.ping()
  })

  test('a handler that waits hears what the host says meanwhile, after calls that waited for nothing', async () => {
    const subject = await start({ 'index.js': work })
    for (let n = 0; n < 3; n++) assert.deepEqual(await subject.json({ how: 'plain' }), { how: 'plain', ticks: 0 })
    const waiting = subject.json(
      { how: 'signal' },
      { started: (stream) => setTimeout(() => stream.cancel('test'), 50) },
    )
    waiting.catch(() => {})
    await subject.link.ping()
    assert.deepEqual(await subject.json({ how: 'plain' }), { how: 'plain', ticks: 0 })
  })

  test('what a handler leaves running goes on between invocations', async () => {
    const subject = await start({ 'index.js': work })
    await subject.json({ how: 'left behind' })
    await delay(200)
    const { ticks } = await subject.json<{ ticks: number }>({ how: 'plain' })
    // One turn of the loop beside each call would make two or three.
    assert.ok(ticks > 10, `${ticks} ticks`)
  })
})
