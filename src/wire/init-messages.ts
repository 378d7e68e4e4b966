import type { FunctionError } from '../domain/invocation.ts'
import { bad, number, object, string } from './fields.ts'
import { parseFail, parseHello, type Hello } from './messages.ts'

/** HELLO of PID 1, with where the boot's time went: in the kernel, and in PID 1 until it could speak. Both are the guest's own clock. */
export interface InitHello extends Hello {
  readonly kernelMs: number
  readonly initMs: number
}

/** What PID 1 of a VM needs to start the runtime. `seed` is 64 hex digits of fresh randomness: never log it, nor `env`. */
export interface InitConfigure {
  readonly instance: string
  /** Epoch ms. */
  readonly nowMs: number
  readonly logBytesPerSecond: number
  /** Sent back in the HELLO of supervisor and runtime. */
  readonly epoch: string
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly hostname: string
  readonly pidsMax: number
  readonly memoryMib: number
  readonly seed: string
}

export interface GuestNetwork {
  readonly address: string
  readonly gateway: string
  readonly nameServer: string
}

export interface InitBind {
  /** Whether the second drive holds a code image; else nothing is mounted. */
  readonly hasCode: boolean
  /** When the code image is a whole file system, which becomes the root: the name of whoever runs there. */
  readonly rootUser: string | null
  readonly memoryMib: number
  readonly tmpMib: number
  readonly pidsMax: number
  readonly network: GuestNetwork | null
}

export interface InitResume {
  readonly nowMs: number
  readonly seed: string
  readonly epoch: string
  readonly instance: string
  readonly hostname: string
  /** It is no clone: only its host is another, and its randomness is its own already. */
  readonly isTakenOver?: boolean
}

/** Of the runtime's cgroup and of /tmp. The peak starts anew only on a guest kernel >= 6.12; before, it is that of the VM's life. */
export interface GuestStats {
  readonly memoryBytes: number
  readonly memoryPeakBytes: number
  readonly cpuMs: number
  readonly pids: number
  readonly tmpBytes: number
  readonly tmpFull: boolean
  readonly oomKills: number
}

/** FAIL on stream 0 of the init channel. Phase `exit`: the runtime ended, by exactly one of `code` and `signal`; else: what could not be done. */
export interface InitFailure extends FunctionError {
  readonly phase: string
  readonly code: number | null
  readonly signal: string | null
  readonly oom: boolean
}

export function parseInitHello(payload: Buffer): InitHello {
  const fields = object('HELLO', payload)
  return {
    ...parseHello(payload),
    kernelMs: number('HELLO', fields, 'kernelMs'),
    initMs: number('HELLO', fields, 'initMs'),
  }
}

const signalName = /^SIG[A-Z0-9+]{1,12}$/

export function parseInitFail(payload: Buffer): InitFailure {
  const failure = parseFail(payload)
  if (failure.phase !== 'exit') return { ...failure, code: null, signal: null, oom: false }
  const { code, signal, oom } = object('FAIL', payload)
  if (code !== null && (typeof code !== 'number' || !Number.isInteger(code) || code < 0 || code > 255))
    throw bad('FAIL', 'code must be null or 0 to 255')
  if (signal !== null && (typeof signal !== 'string' || !signalName.test(signal)))
    throw bad('FAIL', 'signal must be null or the name of a signal')
  if ((code === null) === (signal === null)) throw bad('FAIL', 'one of code and signal must be given')
  if (typeof oom !== 'boolean') throw bad('FAIL', 'oom must be true or false')
  return { ...failure, code, signal, oom }
}

export function parseStats(payload: Buffer): GuestStats {
  const fields = object('STATS', payload)
  const { tmpFull } = fields
  if (typeof tmpFull !== 'boolean') throw bad('STATS', 'tmpFull must be true or false')
  return {
    memoryBytes: number('STATS', fields, 'memoryBytes'),
    memoryPeakBytes: number('STATS', fields, 'memoryPeakBytes'),
    cpuMs: number('STATS', fields, 'cpuMs'),
    pids: number('STATS', fields, 'pids'),
    tmpBytes: number('STATS', fields, 'tmpBytes'),
    tmpFull,
    oomKills: number('STATS', fields, 'oomKills'),
  }
}

/** RESUMED: `epoch` is null after a pause, which changes none. */
export function parseResumed(payload: Buffer): { epoch: string | null } {
  const fields = object('RESUMED', payload)
  return { epoch: fields['epoch'] === undefined ? null : string('RESUMED', fields, 'epoch', 128) }
}
