import { AppError } from '../domain/error.ts'

/** `coming`, or timeout as soon as `deadlineMs` (epoch ms) has passed or `signal` aborts. What comes up later is for the caller to end. */
export async function inTime<T>(
  coming: Promise<T>,
  instanceId: string,
  { signal, deadlineMs, verb = 'boot' }: { signal?: AbortSignal; deadlineMs: number; verb?: string },
): Promise<T> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void =>
      reject(new AppError('timeout', `Cannot ${verb} instance "${instanceId}": ${why}.`))
    const timer = setTimeout(() => fail('the deadline passed'), Math.max(0, deadlineMs - Date.now()))
    const onAbort = (): void => fail('it was called off')
    signal?.addEventListener('abort', onAbort)
    if (signal?.aborted === true) onAbort()
    coming.then(resolve, reject).finally(() => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    })
  })
}
