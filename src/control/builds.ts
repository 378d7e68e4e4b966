import type { Digest } from '../domain/artifact.ts'
import type { Builder, Built } from '../domain/build.ts'
import type { Control } from '../domain/control.ts'
import { AppError, invalid } from '../domain/error.ts'
import type { Arch } from '../domain/function.ts'
import type { Logger } from '../domain/logger.ts'
import type { Store } from '../domain/store.ts'
import type { Blobs } from './blobs.ts'
import { BuildQueue } from './build-queue.ts'
import { demand } from './scopes.ts'

interface BuildParts {
  readonly store: Pick<Store, 'audit'>
  readonly builder?: Builder
  readonly blobs: Pick<Blobs, 'holding' | 'release' | 'uploaded'>
  /** Of this platform's nodes. */
  readonly arch: Arch
  readonly logger: Logger
}

/** Who may build, and when. The bundle is kept for its deploy as an upload is. */
export function buildsApi({ store, builder, blobs, arch: own, logger }: BuildParts): Control['builds'] {
  const queue = new BuildQueue()
  return {
    async build(caller, { source, runtime, handler, arch = own }, watch) {
      demand(caller, 'functions:write')
      if (arch !== 'x86_64' && arch !== 'arm64') throw invalid('arch', arch, 'x86_64 or arm64')
      if (builder === undefined)
        throw new AppError(
          'invalid',
          'This platform builds nothing: its operator demands a microVM for all that runs. Deploy a built program.',
        )
      const { project, actor } = caller
      const work = async (): Promise<Built> => {
        const order = { ...watch, discard: async (digest: Digest) => blobs.release([digest]) }
        const built = await builder.build({ project, source, runtime, handler, arch }, order)
        blobs.uploaded(built.artifact.digest)
        const { digest, bytes } = built.artifact
        const detail = { source, runtime, arch, bytes }
        await store.audit.add(project, { actor, action: 'artifact.build', target: digest, detail })
        logger.info('build.done', { project, ...built.provenance, bytes })
        return built
      }
      const wait = (before: number): void => watch.report(`Waits for other builds, ${before} before it.`)
      return blobs.holding([source], async () => queue.run(project, work, { signal: watch.signal, wait }))
    },
  }
}
