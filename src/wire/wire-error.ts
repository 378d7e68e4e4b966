/** What a peer did wrong. The first five can be seen in one frame's header (`FrameDecoder`), the others need the link's state. */
export type WireErrorKind = 'type' | 'flags' | 'reserved' | 'stream' | 'length' | 'json' | 'phase' | 'credit'

/** A breach of the guest protocol. The channel it happened on is dead, and so is the Instance behind it. */
export class WireError extends Error {
  override readonly name = 'WireError'
  readonly kind: WireErrorKind

  constructor(kind: WireErrorKind, message: string) {
    super(message)
    this.kind = kind
  }
}
