import type { Exit } from '../../domain/driver.ts'

/** What goes wrong, and when. Every knob may be turned while the driver runs; it holds for what happens after. */
export interface FakeFaults {
  /** Time from `boot` to a sandbox. */
  bootMs?: number
  /** Part of it that the network took, and of a bind with egress. */
  networkMs?: number
  /** Boots that fail with this step's name in the error; a number of them, or all. */
  failBoot?: { step: string; times: number }
  /** HELLO never comes. */
  muteBoot?: boolean
  /** `Sandbox.bind` never resolves / fails with this step. */
  hangOnBind?: boolean
  failBind?: string
  /** Time from BIND to READY; `Infinity` never loads. */
  loadMs?: number
  /** The start fails with this message instead of READY. */
  initError?: string
  /** The runtime ends at BIND, as a module that calls exit does; a number of them, or all. */
  exitOnLoad?: Exit & { times?: number }
  hangOnInvoke?: boolean
  /** The runtime ends when an invocation comes in. */
  exitOnInvoke?: Exit
  /** The runtime ends this long after READY, busy or not. */
  crashAfterMs?: number
  /** Part of the invocations, 0 to 1, at which the runtime ends; which ones follows from the driver's `seed`. */
  crashRate?: number
  /** Bytes that are no frame, sent when an invocation comes in. */
  protocolGarbage?: boolean
  /** What `stats` says. */
  memoryBytes?: number
  /** What its machine takes of the host, where that is another figure. */
  hostBytes?: number
  ephemeralFull?: boolean
  /** `stats` never answers / the machine ends when it is asked. */
  hangOnStats?: boolean
  exitOnStats?: Exit
  failPause?: boolean
  /** SHUTDOWN changes nothing. */
  hangOnShutdown?: boolean
  /** Time from `pause` to its answer; it fails if it was overtaken by `resume`, as a slow freezer's does. */
  pauseMs?: number
  /** Time from `restore` to a sandbox. */
  restoreMs?: number
  /** The same from a process that was started ahead. */
  spareRestoreMs?: number
  /** Processes that cannot be started ahead; a number of them, or all. */
  failPrespawn?: { times: number }
  /** The runtime is never quiet, as with a hook that does not end. */
  hangOnSnapshot?: boolean
  /** Saving a machine never ends. */
  hangOnSave?: boolean
  /** Saving a machine fails with this step's name. */
  failSnapshot?: string
  /** Restores that fail; a number of them, or all. */
  failRestore?: { times: number; code?: 'driver_failed' | 'capacity' }
  /** A sandbox that an earlier agent left cannot be taken over, for this reason / does not answer. */
  failRecover?: string
  hangOnRecover?: boolean
  /** Clones draw the same values of this name, or leave it out, or have a clock this much off. */
  clonesShare?: 'randomBytes' | 'uuid' | 'randomInt' | 'mathRandom' | 'hostname' | 'env'
  clonesOmit?: string
  clockSkewMs?: number
  /** Parts of a snapshot's key: another value refuses those made before. */
  vmmVersion?: string
  image?: string
}
