import { execFileSync } from 'node:child_process'
import { randomUUID, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'

/** Gives tokens that a docker-registry believes. */
export interface TokenServer {
  readonly host: string
  /** The registry's section of configuration. */
  readonly section: object
  /** Every question, as `scope by user`; `nobody` asked without. */
  readonly asked: readonly string[]
  /** A token for whoever runs the tests. */
  tokenFor(repository: string, actions: readonly string[]): string
  stop(): Promise<void>
}

const [service, issuer] = ['tests registry', 'tests issuer']

/** With a key of its own in `folder`; `user` alone may pull, and gets what is asked for. Source: docs/spec/auth/token of the distribution project. */
export async function startTokenServer(
  folder: string,
  user: { readonly user: string; readonly password: string },
): Promise<TokenServer> {
  const [key, certificate] = [path.join(folder, 'token-key.pem'), path.join(folder, 'token-cert.pem')]
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  const files = ['-subj', '/CN=tests', '-keyout', key, '-out', certificate]
  execFileSync('openssl', ['req', '-x509', ...curve, ...files], { stdio: 'ignore' })
  const pem = readFileSync(key, 'utf8')
  const der = readFileSync(certificate, 'utf8').replaceAll(/-----[^-]+-----|\s/g, '')
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const tokenWith = (access: readonly object[]): string => {
    const nowS = Math.floor(Date.now() / 1_000)
    const times = { exp: nowS + 300, nbf: nowS - 10, iat: nowS, jti: randomUUID() }
    const claims = { iss: issuer, sub: user.user, aud: service, ...times, access }
    const text = `${encode({ typ: 'JWT', alg: 'ES256', x5c: [der] })}.${encode(claims)}`
    return `${text}.${sign('sha256', Buffer.from(text), { key: pem, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
  }
  const asked: string[] = []
  const right = `Basic ${Buffer.from(`${user.user}:${user.password}`).toString('base64')}`
  const server = http.createServer((request, response) => {
    const { searchParams } = new URL(request.url ?? '', 'http://token')
    const [type, name, actions = ''] = (searchParams.get('scope') ?? '').split(':')
    const { authorization } = request.headers
    asked.push(`${type}:${name}:${actions} by ${authorization === right ? user.user : 'nobody'}`)
    const isWrong = authorization !== undefined && authorization !== right
    const access = authorization === right ? [{ type, name, actions: actions.split(',') }] : []
    if (isWrong || searchParams.get('service') !== service) response.writeHead(401).end()
    else response.end(JSON.stringify({ token: tokenWith(access) }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    host,
    section: { token: { realm: `http://${host}/token`, service, issuer, rootcertbundle: certificate } },
    asked,
    tokenFor: (name, actions) => tokenWith([{ type: 'repository', name, actions }]),
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
