import { Agent, fetch } from 'undici'

/** A fetch that waits `waitMs` for an answer to begin; the global one, which cannot be told, gives up after five minutes. */
export function patientFetch(waitMs: number): typeof globalThis.fetch {
  const dispatcher = new Agent({ headersTimeout: waitMs, bodyTimeout: waitMs })
  const patient = async (input: string | URL, init: Parameters<typeof fetch>[1]) =>
    fetch(input, { ...init, dispatcher })
  // The same standard in two packages' types.
  return patient as unknown as typeof globalThis.fetch
}
