import type { OriginAddress } from '../domain/code-source.ts'
import { parseChallenges, type Challenge } from './registry-challenge.ts'
import { collectSoon, jsonObject } from './small-body.ts'
import { connectionProblem, refuse, Trouble } from './trouble.ts'
import { askWeb, isPassing, type WebGuard } from './web-request.ts'

export type RegistryAddress = OriginAddress & { readonly kind: 'registry' }

const tokenBytesMax = 64 * 1024

/** Who asks, as one registry wants to be told: nobody until it asks, then by a token that it names the giver of, or by user and password.
 *  Source: docs/spec/auth/token of the distribution project. */
export class RegistryAuth {
  readonly #address: RegistryAddress
  readonly #guard: WebGuard
  #header: string | null = null

  constructor(address: RegistryAddress, guard: WebGuard) {
    this.#address = address
    this.#guard = guard
  }

  get headers(): Readonly<Record<string, string>> {
    return this.#header === null ? {} : { authorization: this.#header }
  }

  /** Takes up what a 401 asks for. Throws invalid where nothing new can be said: the credentials are wrong, or missing. */
  async renew(wwwAuthenticate: string | undefined): Promise<void> {
    const challenges = parseChallenges(wwwAuthenticate ?? '')
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer')
    const before = this.#header
    if (bearer !== undefined) this.#header = `Bearer ${await this.#token(bearer)}`
    else if (challenges.some(({ scheme }) => scheme === 'basic')) this.#header = this.#basic() ?? before
    if (this.#header === null || this.#header === before) throw this.refusal('401')
  }

  /** The registry does not take who asks. */
  refusal(what: string): Error {
    const { credentials, reference } = this.#address
    if (credentials === null)
      return refuse(
        this.#address,
        `${reference.registry} does not show it to everybody, or has no such repository (${what})`,
        'Check the name, or name a secret that holds user:password.',
      )
    return refuse(
      this.#address,
      `${reference.registry} refuses the credentials (${what})`,
      'Check the secret, and that its user may pull the image.',
    )
  }

  #basic(): string | null {
    const { credentials } = this.#address
    if (credentials === null) return null
    return `Basic ${Buffer.from(`${credentials.user}:${credentials.password}`).toString('base64')}`
  }

  async #token({ parameters }: Challenge): Promise<string> {
    const url = this.#tokenUrl(parameters)
    const basic = this.#basic()
    const headers = { accept: 'application/json', ...(basic !== null && { authorization: basic }) }
    const reply = await askWeb(this.#address, { url, headers }, this.#guard)
    const { statusCode = 0 } = reply
    if (statusCode !== 200) {
      reply.destroy()
      if (isPassing(statusCode)) throw new Trouble(`${url.host}, which gives tokens, answers ${statusCode}`)
      if (statusCode === 401 || statusCode === 403) throw this.refusal(`${statusCode} by ${url.host}`)
      throw this.#noToken(url, `answers ${statusCode}`)
    }
    try {
      const limits = { bytesMax: tokenBytesMax, timeoutMs: this.#guard.answerMs }
      const body = jsonObject(await collectSoon(reply, limits))
      const token = body?.['token'] ?? body?.['access_token']
      if (typeof token === 'string' && /^[!-~]+$/.test(token)) return token
    } catch (error) {
      const problem = connectionProblem(error)
      throw problem === null ? error : new Trouble(problem)
    }
    throw this.#noToken(url, 'gives none')
  }

  #tokenUrl(parameters: Challenge['parameters']): URL {
    const realm = parameters.get('realm') ?? ''
    if (!URL.canParse(realm))
      throw refuse(this.#address, 'the registry names nobody who gives tokens', 'Check the address of the registry.')
    const url = new URL(realm)
    // Credentials of its own in an address are not what anybody here gave.
    url.username = ''
    url.password = ''
    const service = parameters.get('service')
    if (service !== undefined) url.searchParams.set('service', service)
    url.searchParams.set('scope', parameters.get('scope') ?? `repository:${this.#address.reference.repository}:pull`)
    return url
  }

  #noToken(url: URL, what: string): Error {
    return refuse(this.#address, `${url.host}, which gives tokens, ${what}`, 'Check the address of the registry.')
  }
}
