import assert from 'node:assert/strict'
import { Duplex } from 'node:stream'
import type { Frame } from '../../src/wire/frame.ts'
import { GuestPeer } from '../../src/wire/guest-peer.ts'

/** Two ends of a byte stream in memory. */
export function channelPair(): [Duplex, Duplex] {
  const ends: Duplex[] = []
  for (const other of [1, 0])
    ends.push(
      new Duplex({
        read() {},
        write(chunk: Buffer, _encoding, done) {
          ends[other]?.push(chunk)
          done()
        },
        final(done) {
          ends[other]?.push(null)
          done()
        },
      }),
    )
  const [host, guest] = ends
  assert.ok(host !== undefined && guest !== undefined)
  return [host, guest]
}

/** A channel with a guest's peer at its other end; everything that is called back lands in `calls`, everything sent in `frames`. */
export class PeerBench {
  readonly calls: unknown[][] = []
  readonly frames: Frame[] = []
  readonly host: Duplex
  readonly peer: GuestPeer

  constructor() {
    const [host, guest] = channelPair()
    this.host = host
    this.peer = new GuestPeer(guest, (frame) => this.frames.push(frame))
  }

  /** Forgets what came so far. */
  clear(): void {
    this.calls.length = 0
    this.frames.length = 0
  }

  /** A callback that notes its arguments behind `name`. */
  protected note(name: string): (...rest: unknown[]) => void {
    return (...rest) => {
      this.calls.push([name, ...rest])
    }
  }
}
