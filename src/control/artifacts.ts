import type { ArtifactStore } from '../domain/artifact.ts'
import type { Control } from '../domain/control.ts'
import { sourceBytesMax } from '../domain/limits.ts'
import type { Store } from '../domain/store.ts'
import type { Blobs } from './blobs.ts'
import { demand } from './scopes.ts'

interface ArtifactParts {
  readonly store: Pick<Store, 'audit'>
  readonly artifacts: Pick<ArtifactStore, 'stat'>
  readonly blobs: Blobs
}

/** Uploads that are remembered, so that a second one by the same project is no second entry in its audit log. */
const knownMax = 10_000

/** Uploads that a deploy is going to name. */
export function artifactsApi({ store, artifacts, blobs }: ArtifactParts): Control['artifacts'] {
  /** `project digest`, oldest first. */
  const known = new Set<string>()
  const remember = (upload: string): void => {
    known.add(upload)
    const [oldest] = known
    if (known.size > knownMax && oldest !== undefined) known.delete(oldest)
  }
  return {
    async put(caller, source, { expect, kind, bytesExpected }) {
      demand(caller, 'functions:write')
      const options = {
        isOwned: true,
        bytesMax: sourceBytesMax(kind),
        ...(expect !== null && { expect }),
        ...(bytesExpected !== null && { bytesExpected }),
      }
      return blobs.put(source, options, async (artifact, isNew) => {
        const { digest, bytes } = artifact
        // Before it is kept for a deploy: where this fails the bytes go, and the next try of theirs is new again.
        const entry = { actor: caller.actor, action: 'artifact.put', target: digest, detail: { bytes, kind } }
        // To another project these bytes are new, whoever else has put them; its log says nothing of that.
        const upload = `${caller.project} ${digest}`
        if (isNew || !known.has(upload)) await store.audit.add(caller.project, entry)
        remember(upload)
        blobs.uploaded(digest)
        return artifact
      })
    },
    async stat(caller, digest) {
      demand(caller, 'functions:write')
      blobs.uploaded(digest)
      return artifacts.stat(digest)
    },
  }
}
