import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { AppError, toAppError } from '../domain/error.ts'
import type { Logger } from '../domain/logger.ts'
import type { TlsPair } from '../http/server-settings.ts'
import type { Config } from './config.ts'

type TlsFiles = Pick<Config, 'tlsCert' | 'tlsKey'>

/** What the files hold; null without. Throws invalid, naming the file that is wrong. */
export function readTlsFiles(files: TlsFiles): TlsPair | null {
  if (files.tlsCert === '') return null
  return checkTls({ cert: readPem('tlsCert', files), key: readPem('tlsKey', files) }, files)
}

/** `pair` when it can serve, and until when. Throws invalid, naming the file that is wrong. */
export function checkTls(pair: TlsPair, { tlsCert, tlsKey }: TlsFiles): TlsPair & { validTo: string } {
  const cert = attempt('tlsCert', tlsCert, 'it holds no certificate in PEM form', () => new X509Certificate(pair.cert))
  const why = 'it holds no private key in PEM form, or one with a passphrase ("openssl pkey" takes that off)'
  const key = attempt('tlsKey', tlsKey, why, () => createPrivateKey(pair.key))
  if (!cert.checkPrivateKey(key)) throw unusable('tlsKey', tlsKey, `it is not the key of the certificate in ${tlsCert}`)
  attempt('tlsCert', tlsCert, 'it cannot serve', () => createSecureContext(pair))
  return { ...pair, validTo: new Date(cert.validTo).toISOString() }
}

export interface ReloadOptions {
  readonly files: TlsFiles
  readonly read: (path: string) => Promise<string>
  readonly servers: readonly { setTls(pair: TlsPair): void }[]
  readonly logger: Logger
}

/** Takes what the files hold now for connections that come from here on. What cannot serve changes nothing but the log. */
export async function reloadTls({ files, read, servers, logger }: ReloadOptions): Promise<void> {
  try {
    const [cert, key] = await Promise.all([read(files.tlsCert), read(files.tlsKey)])
    const { validTo, ...pair } = checkTls({ cert, key }, files)
    for (const server of servers) server.setTls(pair)
    logger.info('tls.reloaded', { file: files.tlsCert, validTo })
  } catch (error) {
    const { message, detail } = toAppError(error)
    logger.error('tls.kept', { message, detail })
  }
}

function readPem(name: 'tlsCert' | 'tlsKey', files: TlsFiles): string {
  try {
    return readFileSync(files[name], 'utf8')
  } catch (cause) {
    throw new AppError('invalid', `Cannot read ${name} ${files[name]}: ${(cause as Error).message}.`, {
      field: name,
      cause,
    })
  }
}

function attempt<T>(name: keyof TlsFiles, file: string, reason: string, make: () => T): T {
  try {
    return make()
  } catch (cause) {
    throw unusable(name, file, `${reason} (${cause instanceof Error ? cause.message : String(cause)})`, cause)
  }
}

function unusable(name: keyof TlsFiles, file: string, reason: string, cause?: unknown): AppError {
  return new AppError('invalid', `Cannot use ${name} ${file}: ${reason}.`, { field: name, cause })
}
