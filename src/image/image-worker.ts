import { AppError } from '../domain/error.ts'
import { stepBack } from '../domain/background.ts'
import { toPlainError, type PlainError } from '../domain/plain-error.ts'
import { imageJobs } from './image-jobs.ts'
import { parentPort } from 'node:worker_threads'

export type ImageJobs = typeof imageJobs
export interface ImageRequest {
  readonly id: number
  readonly name: keyof ImageJobs
  readonly input: unknown
}
export type ImageReply =
  | { readonly id: number; readonly progress: { readonly what: string; readonly share: number | null } }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: PlainError }

if (parentPort !== null) stepBack()
parentPort?.on('message', ({ id, name, input }: ImageRequest) => {
  const report = (what: string, share?: number): void =>
    parentPort?.postMessage({ id, progress: { what, share: share ?? null } })
  try {
    parentPort?.postMessage({ id, result: Reflect.apply(imageJobs[name], undefined, [input, report]) })
  } catch (error) {
    parentPort?.postMessage({ id, error: toPlainError(explain(error)) })
  }
})

const diskFullCodes: readonly unknown[] = ['ENOSPC', 'EDQUOT']

/** What the system refused, in words for the operator: a file that is not there or not ours to read is no fault of Hearth. */
function explain(error: unknown): unknown {
  if (!(error instanceof Error) || !('syscall' in error) || !('code' in error)) return error
  const options = { detail: error.stack ?? error.message, cause: error }
  if (diskFullCodes.includes(error.code))
    return new AppError('capacity', 'Cannot make the image: the disk is full. Free space, then retry.', options)
  return new AppError('driver_failed', `Cannot make the image: ${error.message}.`, options)
}
