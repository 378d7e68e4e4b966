import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { InstanceIdentity } from '../domain/agent.ts'
import type { Caller, Control } from '../domain/control.ts'
import { AppError } from '../domain/error.ts'

/** Who is behind a request: the Instance whose channel it came over, else the bearer key. */
export class Authentication {
  readonly #control: Control
  readonly #instances = new WeakMap<Duplex, Caller>()

  constructor(control: Control) {
    this.#control = control
  }

  /** Every request on `stream` is made by this Instance, whatever its headers say. */
  bind(stream: Duplex, identity: InstanceIdentity): void {
    this.#instances.set(stream, {
      actor: `instance:${identity.functionName}`,
      project: identity.project,
      scopes: identity.scopes,
    })
  }

  /** The Caller from memory; null = not valid, undefined = ask `caller`. */
  cached(request: IncomingMessage): Caller | null | undefined {
    const instance = this.#instances.get(request.socket)
    if (instance !== undefined) return instance
    const token = bearer(request.headers.authorization)
    return token === null ? null : this.#control.authenticateCached(token)
  }

  /** Throws unauthorized. */
  async caller(request: IncomingMessage): Promise<Caller> {
    const known = this.cached(request)
    const caller =
      known === undefined ? await this.#control.authenticate(bearer(request.headers.authorization) ?? '') : known
    if (caller === null) throw unauthorized()
    return caller
  }
}

export function unauthorized(): AppError {
  return new AppError('unauthorized', 'A valid key is needed: send "Authorization: Bearer hth_<id>_<secret>".')
}

/** Ends what outlives one answer. */
export function revoked(): AppError {
  return new AppError('unauthorized', 'The key was revoked.')
}

function bearer(header: string | undefined): string | null {
  return header !== undefined && /^bearer /i.test(header) ? header.slice(7).trim() : null
}
