import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseConfig } from './function-config.ts'
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
  refused({ handler: '' }, 'handler')
  refused({ runtime: 'provided', handler: 'a b' }, 'handler')
})
