import { AppError } from '../domain/error.ts'
import type { Clock } from '../domain/clock.ts'
import type { FunctionError } from '../domain/invocation.ts'
import type { Instance } from './instance.ts'

/** What one clone drew and knows of itself: docs/reference/guest-protocol.md, INVOKE of kind `identity`. */
type Identity = Readonly<Record<string, unknown>>

/** Must differ between two clones, whatever the runtime; a runtime leaves out what it does not have. */
const secretFields = [
  'randomBytes',
  'uuid',
  'mathRandom',
  'random',
  'secrets',
  'uuid4',
  'sslRandom',
  'hostname',
] as const
/** A guest's clock is set from the host's at every restore. */
const skewMsMax = 50
const answerMsMax = 20_000
const answerBytesMax = 64 * 1024

/** What is wrong with two clones of one snapshot, as a sentence; null when nothing is. `now` are the host's clocks around each answer. */
export function cloneFault(clones: readonly [Drawn, Drawn]): string | null {
  const [one, two] = clones
  for (const field of secretFields) {
    const [a, b] = [one.identity[field], two.identity[field]]
    if (a === undefined && b === undefined) continue
    if (JSON.stringify(a) === JSON.stringify(b)) return `two clones drew the same ${field}`
  }
  const addresses = [one, two].map(({ identity }) => JSON.stringify(identity['addresses'] ?? []))
  if (addresses[0] !== '[]' && addresses[0] === addresses[1]) return `two clones have the same address ${addresses[0]}`
  for (const { identity, fromMs, toMs } of clones) {
    const guestMs = identity['nowMs']
    if (typeof guestMs !== 'number') return 'a clone did not tell its clock'
    const skewMs = guestMs < fromMs ? fromMs - guestMs : Math.max(0, guestMs - toMs)
    if (skewMs > skewMsMax) return `a clone's clock is ${Math.round(skewMs)} ms off, at most ${skewMsMax} are allowed`
  }
  return null
}

/** An identity and the host's wall clock before it was asked for and after it came. */
export interface Drawn {
  readonly identity: Identity
  readonly fromMs: number
  readonly toMs: number
}

/** Asks a bound Instance; rejects with guest_failed. Takes over its `owner`. */
export async function drawIdentity(instance: Instance, clock: Clock): Promise<Drawn> {
  const parts: Buffer[] = []
  let bytes = 0
  const fromMs = clock.nowMs()
  const text = await new Promise<string>((resolve, reject) => {
    const fail = (why: string): void => {
      timer.cancel()
      reject(new AppError('guest_failed', `A clone did not say who it is: ${why}.`))
    }
    const failWith = ({ errorType, errorMessage }: FunctionError): void => fail(`${errorType}: ${errorMessage}`)
    const timer = clock.schedule(answerMsMax, () => fail(`no answer within ${answerMsMax} ms`))
    instance.owner = {
      onLoaded: () => {},
      onLoadFailed: (_instance, error) => failWith(error),
      onDead: (_instance, { exit, breach }) => fail(breach ?? `it ended (${exit?.signal ?? exit?.code})`),
      onQuiet: () => {},
    }
    const stream = instance.link.invoke(
      {
        id: 'identity',
        deadlineMs: fromMs + answerMsMax,
        contentType: 'application/json',
        traceparent: null,
        kind: 'identity',
      },
      {
        onHead: () => {},
        onData: (chunk) => {
          bytes += chunk.length
          if (bytes > answerBytesMax) return fail(`more than ${answerBytesMax} bytes came`)
          parts.push(chunk)
        },
        onEnd: () => {
          timer.cancel()
          resolve(Buffer.concat(parts).toString())
        },
        onFail: failWith,
        onIdle: () => {},
      },
    )
    stream.write(Buffer.from('{}'), true)
  })
  return { identity: parseIdentity(text), fromMs, toMs: clock.nowMs() }
}

function parseIdentity(text: string): Identity {
  try {
    const value: Identity | null = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return value
  } catch {
    // Reported below as what it is.
  }
  throw new AppError('guest_failed', 'A clone did not say who it is: its answer is no JSON object.')
}
