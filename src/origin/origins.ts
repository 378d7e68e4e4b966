import type { Clock } from '../domain/clock.ts'
import type { OriginAddress, OriginContent, Origins } from '../domain/code-source.ts'
import type { Logger } from '../domain/logger.ts'
import { httpsOpener } from './https-origin.ts'
import { openImage } from './registry-origin.ts'
import { answerMsOf, openResumable, type OpenPart, type Patience } from './resumable.ts'
import { s3Opener } from './s3-origin.ts'

export interface OriginsOptions {
  readonly s3: Origins['s3']
  /** Addresses that are not the internet's may be named by callers too. */
  readonly allowsPrivate: boolean
  /** Registries, HOST or HOST:PORT, that are asked by plain http, wherever they are. */
  readonly insecureRegistries: readonly string[]
  readonly patience: Patience
  /** The same for an image, which may be much larger. */
  readonly imageTotalMs: number
  readonly clock: Clock
  readonly logger: Logger
}

/** S3 servers, the web and registries, for code that is to be deployed from there. */
export function openOrigins(options: OriginsOptions): Origins {
  const { s3, allowsPrivate, patience, clock, logger } = options
  const settings = { allowsPrivate, answerMs: answerMsOf(patience), plainHosts: new Set<string>() }
  const plainHosts = new Set(options.insecureRegistries.map((host) => new URL(`http://${host}`).host))
  const opener = async (
    address: Exclude<OriginAddress, { kind: 'registry' }>,
  ): Promise<{ open: OpenPart; close: () => void }> => {
    if (address.kind === 's3') return s3Opener(address, settings)
    return { open: httpsOpener(address, settings), close: () => {} }
  }
  return {
    s3,
    async open(address): Promise<OriginContent> {
      if (address.kind === 'registry') {
        const guard = { ...settings, plainHosts }
        const patient = { ...patience, totalMs: options.imageTotalMs }
        return openImage({ address, guard, patience: patient, clock, logger })
      }
      const { open, close } = await opener(address)
      try {
        const found = await openResumable({ address, open, patience, clock, logger })
        found.content.once('close', close)
        return found
      } catch (error) {
        close()
        throw error
      }
    },
  }
}
