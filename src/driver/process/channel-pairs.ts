import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { ChannelListener } from './channel-listener.ts'

/** The two sockets of one sandbox that the launcher connects to. */
export interface ChannelPair {
  readonly runtime: ChannelListener
  readonly supervisor: ChannelListener
}

/** What has just been made comes up meanwhile, and wants the time. */
const prepareAfterMs = 20

/** Pairs of listening sockets in one folder. One pair is made ahead, after a sandbox has come up: making it took 0.3 to 0.7 ms of a cold start. */
export class ChannelPairs {
  readonly #folder: string
  #spare: Promise<ChannelPair> | null = null
  #isClosed = false

  constructor(folder: string) {
    this.#folder = folder
  }

  /** A pair that is the caller's to close. Throws driver_failed naming the path. */
  take(): Promise<ChannelPair> {
    const spare = this.#spare
    this.#spare = null
    return spare ?? this.#make()
  }

  /** Makes the next one, when there is none. */
  prepareSoon(): void {
    setTimeout(() => this.#prepare(), prepareAfterMs).unref()
  }

  /** Closes the one that nobody has taken. */
  async close(): Promise<void> {
    this.#isClosed = true
    const spare = await this.#spare?.catch(() => null)
    this.#spare = null
    await closePair(spare ?? null)
  }

  #prepare(): void {
    if (this.#isClosed || this.#spare !== null) return
    const spare = this.#make()
    this.#spare = spare
    // Whoever takes it next makes another, and is told why that fails.
    spare.catch(() => {
      if (this.#spare === spare) this.#spare = null
    })
  }

  async #make(): Promise<ChannelPair> {
    const name = randomBytes(6).toString('hex')
    const [runtime, supervisor] = await Promise.allSettled(
      [`${name}.r`, `${name}.s`].map(async (file) => ChannelListener.listen(join(this.#folder, file))),
    )
    if (runtime?.status === 'fulfilled' && supervisor?.status === 'fulfilled')
      return { runtime: runtime.value, supervisor: supervisor.value }
    for (const made of [runtime, supervisor]) if (made?.status === 'fulfilled') await made.value.close()
    throw [runtime, supervisor].find((made) => made?.status === 'rejected')?.reason
  }
}

export async function closePair(pair: ChannelPair | null): Promise<void> {
  await Promise.all([pair?.runtime.close(), pair?.supervisor.close()])
}
