import type { Builder } from '../domain/build.ts'
import type { Control } from '../domain/control.ts'
import { AppError, invalid } from '../domain/error.ts'
import type { Arch } from '../domain/function.ts'
import type { Logger } from '../domain/logger.ts'
import type { Blobs } from './blobs.ts'
import { demand } from './scopes.ts'

/** Builds under way at a time: each takes a processor and gigabytes of memory. */
const buildsMax = 2

interface BuildParts {
  readonly builder?: Builder
  readonly blobs: Pick<Blobs, 'holding' | 'uploaded'>
  /** Of this platform's nodes. */
  readonly arch: Arch
  readonly logger: Logger
}

/** Who may build, and how many at a time. The bundle is kept for its deploy as an upload is. */
export function buildsApi({ builder, blobs, arch: own, logger }: BuildParts): Control['builds'] {
  let running = 0
  return {
    async build(caller, { source, runtime, handler, arch = own }, watch) {
      demand(caller, 'functions:write')
      if (arch !== 'x86_64' && arch !== 'arm64') throw invalid('arch', arch, 'x86_64 or arm64')
      if (builder === undefined)
        throw new AppError(
          'invalid',
          'This platform builds nothing: its operator demands a microVM for all that runs. Deploy a built program.',
        )
      if (running >= buildsMax)
        throw new AppError('capacity', `${buildsMax} builds are under way: try again in a moment.`, {
          retryAfterMs: 10_000,
        })
      running++
      try {
        const { project } = caller
        return await blobs.holding([source], async () => {
          const built = await builder.build({ project, source, runtime, handler, arch }, watch)
          blobs.uploaded(built.artifact.digest)
          logger.info('build.done', { project, ...built.provenance, bytes: built.artifact.bytes })
          return built
        })
      } finally {
        running--
      }
    },
  }
}
