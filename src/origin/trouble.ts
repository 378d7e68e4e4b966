import { AppError } from '../domain/error.ts'
import type { OriginAddress } from '../domain/code-source.ts'

/** The origin failed in a way that may be over soon: to be tried again. */
export class Trouble extends Error {
  override readonly name = 'Trouble'
}

/** What cannot be done, and with what. */
function failing({ kind, source }: OriginAddress): string {
  return kind === 'registry' ? `Cannot fetch the image ${source}` : `Cannot fetch the code from ${source}`
}

/** The origin's own refusal of `address`, in the field the caller wrote it in. */
export function refuse(address: OriginAddress, problem: string, fix: string): AppError {
  return new AppError('invalid', `${failing(address)}: ${problem}. ${fix}`, {
    field: address.kind === 'registry' ? 'code.image' : `code.${address.kind}`,
    value: address.source,
    allowed: fix,
  })
}

export function changedMeanwhile(address: OriginAddress): AppError {
  return new AppError(
    'conflict',
    `${failing(address)}: it changed while it was read. Deploy again to take what is there now.`,
    { retryable: true },
  )
}

export function isDown(address: OriginAddress, problem: string): AppError {
  return new AppError(
    'capacity',
    `${failing(address)}: ${problem}. Versions that are deployed run on: their code is kept here. Try again later.`,
    { retryAfterMs: 30_000 },
  )
}

export const cutWords = 'the connection was cut'

/** What Node says of a connection, in words; null when it says nothing of the kind. */
export function connectionProblem(error: unknown): string | null {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const words: Readonly<Record<string, string>> = {
    ECONNREFUSED: 'the connection is refused',
    ECONNRESET: cutWords,
    ECONNABORTED: cutWords,
    EPIPE: cutWords,
    ERR_STREAM_PREMATURE_CLOSE: cutWords,
    ETIMEDOUT: 'it does not answer',
    EHOSTUNREACH: 'it cannot be reached',
    ENETUNREACH: 'it cannot be reached',
    ENOTFOUND: 'its name is not known',
    EAI_AGAIN: 'its name cannot be looked up',
  }
  return (
    words[code] ?? (/^(aborted|socket hang up)$/.test(error instanceof Error ? error.message : '') ? cutWords : null)
  )
}

/** A certificate that is not trusted will not be in a minute either. */
export function isCertificateError(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ERR_TLS/.test(code)
}
