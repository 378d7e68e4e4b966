import { AppError } from '../domain/error.ts'
import { limits } from '../domain/limits.ts'

/** An archive that Hearth will not unpack: `invalid`, saying which entry, what is wrong with it and how to build a better one. */
export function refuseEntry(entry: string, problem: string, fix: string): AppError {
  const shown = shorten(entry)
  return new AppError('invalid', `Cannot unpack entry ${JSON.stringify(shown)}: ${problem}. ${fix}`, {
    field: 'code',
    value: shown,
    allowed: fix,
  })
}

/** The same for the archive as a whole. */
export function refuseArchive(problem: string, fix: string): AppError {
  return new AppError('invalid', `Cannot unpack the archive: ${problem}. ${fix}`, { field: 'code', allowed: fix })
}

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

function shorten(entry: string): string {
  return entry.length > 120 ? `${entry.slice(0, 60)}...${entry.slice(-57)}` : entry
}
