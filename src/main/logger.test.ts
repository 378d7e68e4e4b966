import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLogger, type LoggerOptions } from './logger.ts'

function lines(options: Partial<LoggerOptions>): { logger: ReturnType<typeof createLogger>; written: string[] } {
  const written: string[] = []
  const base = { level: 'info', format: 'json', hasColors: false, nowMs: () => 0 } as const
  return { logger: createLogger({ ...base, write: (line) => written.push(line), ...options }), written }
}

test('createLogger: one JSON object a line, less important levels dropped', () => {
  const { logger, written } = lines({})
  logger.debug('unseen')
  logger.info('instance.boot.done', { instanceId: 'i-1', bootMs: 3 })
  assert.deepEqual(
    written.map((line) => JSON.parse(line) as unknown),
    [{ time: '1970-01-01T00:00:00.000Z', level: 'info', event: 'instance.boot.done', instanceId: 'i-1', bootMs: 3 }],
  )
})

test('createLogger: an error and its cause are written out', () => {
  const { logger, written } = lines({})
  logger.error('deploy.failed', { error: new Error('outer', { cause: new Error('inner') }) })
  const { error } = JSON.parse(written[0] ?? '') as { error: { message: string; cause: { message: string } } }
  assert.equal(error.message, 'outer')
  assert.equal(error.cause.message, 'inner')
})

test('createLogger: text form quotes what has spaces', () => {
  const { logger, written } = lines({ format: 'text' })
  logger.warn('disk.low', { folder: '/a b', freeMib: 3 })
  assert.equal(written[0], '00:00:00.000 ! disk.low folder="/a b" freeMib=3\n')
})
