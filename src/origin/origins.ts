import type { Clock } from '../domain/clock.ts'
import type { OriginAddress, OriginContent, Origins } from '../domain/code-source.ts'
import type { Logger } from '../domain/logger.ts'
import { httpsOpener } from './https-origin.ts'
import { openResumable, type OpenPart, type Patience } from './resumable.ts'
import { s3Opener } from './s3-origin.ts'

export interface OriginsOptions {
  readonly s3: Origins['s3']
  /** Addresses that are not the internet's may be named by callers too. */
  readonly allowsPrivate: boolean
  readonly patience: Patience
  readonly clock: Clock
  readonly logger: Logger
}

/** How long an answer may take to begin. */
const answerMs = 10_000

/** S3 servers and the web, for code that is to be deployed from there. */
export function openOrigins({ s3, allowsPrivate, patience, clock, logger }: OriginsOptions): Origins {
  const opener = async (address: OriginAddress): Promise<{ open: OpenPart; close: () => void }> => {
    const settings = { allowsPrivate, answerMs: Math.min(answerMs, patience.retryMs) }
    if (address.kind === 's3') return s3Opener(address, settings)
    return { open: httpsOpener(address, settings), close: () => {} }
  }
  return {
    s3,
    async open(address): Promise<OriginContent> {
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
