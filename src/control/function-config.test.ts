import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { AppError } from '../domain/error.ts'
import { checkHandlerFor, parseConfig } from './function-config.ts'
import type { FunctionConfig } from '../domain/function.ts'

const caller = { actor: 'k', project: 'default', scopes: ['*'] }
const context = { caller, arch: 'x86_64', hasVm: true, vmDetail: '', demand: 'any' } as const
const parse = (input: Partial<FunctionConfig>, base: FunctionConfig | null = null): FunctionConfig =>
  parseConfig({ runtime: 'node', handler: 'index.handler', ...input }, base, context)

test('contract: follows the runtime unless something else is said, and stays where the next runtime has it', () => {
  assert.equal(parse({}).contract, 'handler')
  assert.equal(parse({ runtime: 'provided.al2023', handler: '' }).contract, 'runtime-api')
  const server = parse({ runtime: 'http', handler: '', port: 3000, instanceConcurrency: 80 })
  assert.deepEqual([server.contract, server.port, server.instanceConcurrency], ['http', 3000, 80])
  const express = parse({ contract: 'http', command: ['node', 'server.js'] })
  assert.equal(parseConfig({ memoryMib: 512 }, express, context).contract, 'http')
  assert.equal(parse({ runtime: 'provided' }, parse({})).contract, 'runtime-api')
  const lambda = parse({ runtime: 'image', handler: '', contract: 'runtime-api' })
  assert.equal(parseConfig({ memoryMib: 512, runtime: 'image' }, lambda, context).contract, 'runtime-api')
  assert.equal(parseConfig({ runtime: 'http' }, lambda, context).contract, 'http')
})

test('contract: what does not go together is refused, naming the field', () => {
  const refused = (input: Partial<FunctionConfig>, field: string): void =>
    assert.throws(() => parse(input), { code: 'invalid', field }, JSON.stringify(input))
  refused({ runtime: 'provided', contract: 'handler' }, 'contract')
  refused({ command: ['node', 'server.js'] }, 'command')
  refused({ contract: 'http', command: ['', 'x'] }, 'command')
  refused({ contract: 'http', command: ['a\0b'] }, 'command')
  refused({ contract: 'http', command: ['x'.repeat(5_000)] }, 'command')
  refused({ contract: 'http', port: 9001 }, 'port')
  refused({ contract: 'http', port: 70_000 }, 'port')
  refused({ instanceConcurrency: 2 }, 'instanceConcurrency')
  refused({ contract: 'http', instanceConcurrency: 2, reuse: 'never' }, 'instanceConcurrency')
  refused({ contract: 'http', instanceConcurrency: 81 }, 'instanceConcurrency')
  refused({ contract: 'http', snapshot: 'function' }, 'snapshot')
  refused({ isolation: 'process', snapshot: 'function' }, 'snapshot')
  refused({ handler: '' }, 'handler')
  refused({ runtime: 'provided', handler: 'a b' }, 'handler')
})

test('handler: whatever Lambda takes, as long as it names what lies below the code', () => {
  const taken = [
    'pages/[id].handler',
    './index.handler',
    'index',
    'a-b/c_d.e.f',
    'src/(group)/page+x.GET',
    'caf\u00E9.handler',
  ]
  for (const handler of taken) assert.equal(parse({ handler }).handler, handler)
  const refused = [
    '',
    ' ',
    'a b.c',
    'a\tb.c',
    'a\u0001.b',
    '\uD800.b',
    '/etc/x.handler',
    '../x.handler',
    'a/../../x.handler',
  ]
  refused.push('a..b', 'a/', '.handler', 'a/.handler', 'index.', '..', '.', './', 'x'.repeat(129))
  for (const handler of refused)
    assert.throws(() => parse({ handler }), { code: 'invalid', field: 'handler' }, JSON.stringify(handler))
})

test('env: what the platform sets is reserved, and nothing else of AWS', () => {
  const env = { AWS_LAMBDA_NODEJS_USE_ALTERNATIVE_CLIENT_1: 'true', AWS_LAMBDA_OWN: '1', AWS_REGION: 'x', TZ: 'UTC' }
  assert.deepEqual(parse({ env }).env, env)
  const reserved = ['_HANDLER', '_X_AMZN_TRACE_ID', 'LAMBDA_TASK_ROOT', 'LAMBDA_RUNTIME_DIR', 'HEARTH_ANY']
  reserved.push(...['FUNCTION_NAME', 'FUNCTION_VERSION', 'RUNTIME_API'].map((each) => `AWS_LAMBDA_${each}`))
  for (const name of reserved) {
    const message = new RegExp(`"${name}": must be an? .*name that the platform does not set itself`)
    assert.throws(() => parse({ env: { [name]: 'x' } }), { field: `env.${name}`, message })
    assert.throws(() => parse({ secrets: { [name]: 'x' } }), { field: `secrets.${name}`, message })
  }
})

test('env: every AWS_LAMBDA_ name that a runtime or the bridge sets is reserved', () => {
  const sources = ['guest/src/bridge/bind.rs', 'runtimes/node/runtime.cjs', 'runtimes/python/hearth_runtime.py']
  const named = sources.flatMap((file) => [
    ...readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8').matchAll(
      /\bAWS_LAMBDA_[A-Z_]+|\bLAMBDA_[A-Z_]+/g,
    ),
  ])
  assert.ok(named.length > 15)
  for (const [name] of named) assert.throws(() => parse({ env: { [name]: 'x' } }), { field: `env.${name}` }, name)
})

test('env: a wrapper goes with contract runtime-api, and is refused with handler', () => {
  const env = { AWS_LAMBDA_EXEC_WRAPPER: '/opt/wrapper' }
  const field = 'env.AWS_LAMBDA_EXEC_WRAPPER'
  assert.throws(() => parse({ env }), {
    code: 'invalid',
    field,
    message: /started before it is known for which function/,
  })
  assert.throws(() => parse({ secrets: { AWS_LAMBDA_EXEC_WRAPPER: 'x' } }), { code: 'invalid' })
  const ric = parse({ env, contract: 'runtime-api', command: ['aws-lambda-ric', 'index.handler'] })
  assert.deepEqual(ric.env, env)
  assert.throws(() => parseConfig({ contract: 'handler', command: [] }, ric, context), { field })
})

test("env and secrets: what the contract's own platform sets is refused, and only there", () => {
  const refused = (input: Partial<FunctionConfig>): string => {
    try {
      parse(input)
    } catch (error) {
      assert.ok(error instanceof AppError && error.code === 'invalid', String(error))
      return `${error.field}: ${error.message}`
    }
    return 'taken'
  }
  const port =
    'with contract http the platform sets PORT itself; to have the program listen elsewhere, set the port (--port).'
  assert.equal(refused({ contract: 'http', env: { PORT: '3000' } }), `env.PORT: Invalid env.PORT: ${port}`)
  assert.equal(refused({ contract: 'http', secrets: { PORT: 'p' } }), `secrets.PORT: Invalid secrets.PORT: ${port}`)
  for (const name of ['K_SERVICE', 'K_REVISION', 'K_CONFIGURATION'])
    assert.match(refused({ contract: 'http', env: { [name]: 'x' } }), /sets K_\w+ itself; leave it out\.$/)
  assert.match(refused({ contract: 'azure', env: { FUNCTIONS_CUSTOMHANDLER_PORT: '1' } }), /contract azure .*--port/)
  assert.equal(refused({ env: { PORT: '3000', K_SERVICE: 'x' } }), 'taken')
  assert.equal(refused({ contract: 'azure', env: { PORT: '3000' } }), 'taken')
})

test('handler of Python: a module below the code and a function; a dot in a folder is none', () => {
  const check = (handler: string): void => checkHandlerFor('python', { handler, contract: 'handler' })
  for (const handler of ['main.handler', 'src/main.handler', 'a.b/main.handler']) check(handler)
  for (const handler of ['main', 'a.b/main']) assert.throws(() => check(handler), { field: 'handler' }, handler)
})
