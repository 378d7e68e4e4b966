import { AppError } from '../domain/error.ts'
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

function explain(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error) || !diskFullCodes.includes(error.code)) return error
  const message = 'Cannot make the image: the disk is full. Free space, then retry.'
  return new AppError('capacity', message, { detail: error.message, cause: error })
}
