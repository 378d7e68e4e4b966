import { routes } from '@hearth/sdk'
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { check } from './check.ts'

const { createFunction, listFunctions, rollbackFunction, createKey, setSecret, putFunctionUrl } = routes
const digest = `sha256:${'0'.repeat(64)}`
const good = { name: 'a', runtime: 'node', handler: 'index.handler', code: { artifact: digest } }

test('check names field, value and what is allowed, in words of ours', () => {
  const body = createFunction.body
  refused(() => check(body, { ...good, memoryMib: '512' }, 'body'), {
    field: 'memoryMib',
    value: '512',
    allowed: 'a number (128 to 2048, default 256)',
    message: 'Invalid memoryMib "512": must be a number (128 to 2048, default 256).',
  })
  refused(() => check(body, { ...good, memoryMib: null }, 'body'), {
    message: 'Invalid memoryMib null: must be a number (128 to 2048, default 256).',
  })
  refused(() => check(body, { ...good, memoryMib: Infinity }, 'body'), {
    message: 'Invalid memoryMib Infinity: must be a number (128 to 2048, default 256).',
  })
  refused(() => check(body, { ...good, env: { A: 5 } }, 'body'), {
    field: 'env.A',
    message: 'Invalid env.A 5: must be a text.',
  })
  refused(() => check(body, { ...good, env: [] }, 'body'), { message: 'Invalid env []: must be an object.' })
  refused(() => check(body, [], 'body'), { field: 'body', message: 'Invalid body []: must be an object.' })
  refused(() => check(body, { ...good, name: 'a b' }, 'body'), {
    allowed: '1 to 64 letters, digits, "-" or "_"',
    message: 'Invalid name "a b": must be 1 to 64 letters, digits, "-" or "_".',
  })
  refused(() => check(createKey.body, { name: 'k', scopes: [] }, 'body'), {
    message: 'Invalid scopes []: must be a list of at least one.',
  })
  refused(() => check(createKey.body, { name: 'n'.repeat(101), scopes: ['admin'] }, 'body'), {
    allowed: 'a text of at most 100 characters',
  })
  refused(() => check(putFunctionUrl.body, { auth: 'all' }, 'body'), {
    message: 'Invalid auth "all": must be one of none, key, aws_iam.',
  })
})

test('check names the whole range of a number, whichever end it is beyond', () => {
  for (const limit of ['0', '1001', 'abc', '1.5'])
    refused(() => check(listFunctions.query, { limit }, 'query'), {
      message: `Invalid limit "${limit}": must be a whole number from 1 to 1000.`,
    })
  refused(() => check(listFunctions.query, { limit: ['2', '3'] }, 'query'), {
    message: 'Invalid limit ["2","3"]: must be a whole number from 1 to 1000.',
  })
})

test('check says what is missing', () => {
  const { runtime: _, ...without } = good
  refused(() => check(createFunction.body, without, 'body'), {
    field: 'runtime',
    value: undefined,
    message: 'Missing runtime: give a text.',
  })
  refused(() => check(createFunction.body, { ...good, code: undefined }, 'body'), {
    message: 'Missing code: give an object.',
  })
})

test('check says of an unknown field which is meant, or which there are', () => {
  refused(() => check(createFunction.body, { ...good, memoryMb: 5 }, 'body'), {
    field: 'memoryMb',
    message: 'Invalid memoryMb: there is no such field. Did you mean memoryMib?',
  })
  refused(() => check(rollbackFunction.body, { version: 1 }, 'body'), {
    field: 'version',
    allowed: 'left out; known here: to',
    message: 'Invalid version: there is no such field. Known here: to.',
  })
})

test('check quotes no secret', () => {
  refused(() => check(setSecret.body, { value: 5 }, 'body', true), {
    value: undefined,
    message: 'Invalid value: must be a text.',
  })
})

function refused(run: () => unknown, expected: Record<string, unknown>): void {
  assert.throws(run, { code: 'invalid', ...expected })
}
