import { AppError } from './error.ts'
import { limits } from './limits.ts'

/** More bytes than may come. */
export function refuseTooLarge(bytesMax: number): AppError {
  const isCode = bytesMax <= limits.archive.bytesMax
  const fix = isCode ? ' Leave out what the code does not need.' : ''
  return new AppError('invalid', `The upload is larger than ${mib(bytesMax)}, which is the limit.${fix}`, {
    field: isCode ? 'code' : 'body',
    allowed: `at most ${bytesMax} bytes`,
  })
}

/** Bytes as a person reads them, exact where they are exact. */
export function mib(bytes: number): string {
  const value = bytes / (1024 * 1024)
  return `${Number.isInteger(value) ? value : value.toFixed(1)} MiB`
}
