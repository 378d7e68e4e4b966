import assert from 'node:assert/strict'
import { AppError, type ErrorCode } from '../../src/domain/error.ts'

/** The AppError that `promise` must reject with. */
export async function rejects(promise: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<AppError> {
  const error = await promise.then(
    () => assert.fail(`Expected ${code}, but the call succeeded.`),
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof AppError, `Expected an AppError, got ${String(error)}`)
  assert.equal(error.code, code, error.message)
  assert.match(error.message, message)
  return error
}
