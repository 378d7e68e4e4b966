import type { ErrorBody } from './types.ts'

/** What the API answered instead of a result, or would have where a call is refused before it is sent; `status` 0 = it could not be reached. */
export class HearthError extends Error {
  override readonly name = 'HearthError'
  readonly status: number
  readonly code: string
  readonly field: string | undefined
  readonly value: unknown
  readonly allowed: string | undefined
  readonly retryable: boolean
  readonly invocationId: string | undefined

  constructor(status: number, body: ErrorBody, cause?: unknown) {
    super(body.message, cause === undefined ? undefined : { cause })
    this.status = status
    this.code = body.code
    this.field = body.field
    this.value = body.value
    this.allowed = body.allowed
    this.retryable = body.retryable
    this.invocationId = body.invocationId
  }
}

/** What a reply that is no result says. */
export async function failure(reply: Response): Promise<HearthError> {
  const text = await reply.text()
  try {
    const { error } = JSON.parse(text) as { error: ErrorBody }
    if (typeof error.message === 'string') return new HearthError(reply.status, error)
  } catch {
    // Not ours: a proxy's page, or an empty HEAD reply. The status is all there is.
  }
  return new HearthError(reply.status, {
    code: codeOf(reply.status),
    message: `The platform answered ${reply.status}.`,
    retryable: reply.status >= 500,
  })
}

/** What a status stands for where a reply has no error of the platform in it; several statuses are one code. */
const codeOfStatus: Readonly<Record<number, string>> = {
  400: 'invalid',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not_found',
  409: 'conflict',
  413: 'invalid',
  415: 'invalid',
  429: 'capacity',
  503: 'capacity',
  504: 'timeout',
}

function codeOf(status: number): string {
  return codeOfStatus[status] ?? 'internal'
}

/** The status with which the platform replies to each of its error codes: it takes it from here. */
export const statusOfCode = {
  invalid: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  capacity: 503,
  timeout: 504,
  guest_failed: 502,
  driver_failed: 502,
  internal: 500,
} as const

/** The HTTP status that an error with `code` would have had as a reply; 500 for one that a newer platform knows. */
export function statusOf(code: string): number {
  return Object.entries(statusOfCode).find(([known]) => known === code)?.[1] ?? 500
}
