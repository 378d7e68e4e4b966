import { AppError } from '../domain/error.ts'
import type { Clock } from '../domain/clock.ts'
import type { FunctionError } from '../domain/invocation.ts'
import type { RuntimeBuild, RuntimeFamily } from '../domain/runtime.ts'
import type { Instance } from './instance.ts'
import { createHash } from 'node:crypto'

/** What one clone drew and knows of itself: docs/reference/guest-protocol.md, INVOKE of kind `identity`. */
type Identity = Readonly<Record<string, unknown>>

/** What must differ between two clones, by who answers. One that leaves any of it out is refused: what is not drawn cannot be compared. */
const drawnEverywhere = ['randomBytes', 'uuid', 'hostname'] as const
const drawnBy: Readonly<Record<RuntimeFamily, readonly string[]>> = {
  node: [...drawnEverywhere, 'randomInt', 'mathRandom'],
  python: [...drawnEverywhere, 'mathRandom', 'random', 'secrets', 'uuid4', 'sslRandom'],
  provided: drawnEverywhere,
}
/** A variable that each clone is bound with, as secrets are: its own value must be there, and no other's. */
export const cloneSecretName = 'HEARTH_CLONE_CHECK'
/** A guest's clock is set from the host's at every restore. */
const skewMsMax = 50
const answerMsMax = 20_000
const answerBytesMax = 64 * 1024

/** What is wrong with two clones of one snapshot of `build`, as a sentence; null when nothing is. */
export function cloneFault(
  clones: readonly [Drawn, Drawn],
  { family, isBridged }: Pick<RuntimeBuild, 'family' | 'isBridged'>,
): string | null {
  const [one, two] = clones
  for (const field of drawnBy[isBridged ? 'provided' : family]) {
    const [a, b] = [one.identity[field], two.identity[field]]
    if (a === undefined || b === undefined) return `a clone did not draw ${field}`
    if (JSON.stringify(a) === JSON.stringify(b)) return `two clones drew the same ${field}`
  }
  // The bridge keeps the environment for the program that it starts.
  const hasEnv = family !== 'provided' && !isBridged
  if (hasEnv && !clones.every(hasOwnSecret)) return 'a clone does not have the secret that it was given'
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

function hasOwnSecret({ identity, secret }: Drawn): boolean {
  const { env } = identity
  const found = typeof env === 'object' && env !== null ? Reflect.get(env, cloneSecretName) : undefined
  return found === createHash('sha256').update(secret).digest('hex')
}

/** An identity, the secret that the clone was bound with, and the host's wall clock before it was asked for and after it came. */
export interface Drawn {
  readonly identity: Identity
  readonly secret: string
  readonly fromMs: number
  readonly toMs: number
}

/** Asks a bound Instance; rejects with guest_failed. Takes over its `owner`. */
export async function drawIdentity(instance: Instance, clock: Clock): Promise<Omit<Drawn, 'secret'>> {
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
