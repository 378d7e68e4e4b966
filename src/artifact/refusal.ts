import { AppError } from '../domain/error.ts'

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

function shorten(entry: string): string {
  return entry.length > 120 ? `${entry.slice(0, 60)}...${entry.slice(-57)}` : entry
}
