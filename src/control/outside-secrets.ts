import type { SecretSource } from '../domain/agent.ts'
import type { S3Credentials } from '../domain/code-source.ts'
import type { Caller } from '../domain/control.ts'
import { invalid } from '../domain/error.ts'

interface S3Signing {
  /** Name of the secret; null = the platform's own credentials. */
  readonly secret: string | null
  /** The platform's own are not for this. */
  readonly mustHaveSecret: boolean
  readonly endpoint: string | null
  /** Where the secret was named. */
  readonly field: string
}

/** Secrets of a project that are for servers outside: gets their names, gives them opened and as what they are to be. All throw invalid, naming
 *  the field that named the secret, never its value. */
export class OutsideSecrets {
  readonly #source: SecretSource

  constructor(source: SecretSource) {
    this.#source = source
  }

  async value({ project }: Caller, secret: string, field: string): Promise<string> {
    const value = (await this.#source.reveal(project, [secret])).values.get(secret)
    if (value === undefined)
      throw invalid(field, secret, 'the name of a secret of this project; make it with "hearth secret set"')
    return value
  }

  /** Null = the platform's own. */
  async s3(caller: Caller, { secret, mustHaveSecret, endpoint, field }: S3Signing): Promise<S3Credentials | null> {
    if (secret === null) {
      if (!mustHaveSecret) return null
      throw invalid(field, undefined, `the name of a secret with accessKeyId:secretAccessKey for ${endpoint}`)
    }
    const value = await this.value(caller, secret, field)
    const [accessKeyId = '', secretAccessKey = '', ...token] = value.trim().split(':')
    if (accessKeyId === '' || secretAccessKey === '')
      throw invalid(field, secret, 'a secret that holds accessKeyId:secretAccessKey[:sessionToken]')
    return { accessKeyId, secretAccessKey, ...(token.length > 0 && { sessionToken: token.join(':') }) }
  }
}
