import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import os from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import tls from 'node:tls'
import { Agent, WebSocket } from 'undici'
import { call, deployFiles, nodeFunction } from '../support/functions.ts'
import { runCli, startPlatform, type Platform } from '../support/platform.ts'
import { until } from '../support/until.ts'

/* Functions' URLs over TLS, on the real platform, with certificates that openssl makes; the service user can read none of their files. */

const webSocketServer = `
const { createHash } = require('node:crypto')
const server = require('node:http').createServer((request, response) => response.end('plain'))
server.on('upgrade', (request, socket) => {
  const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64')
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: ' + accept + '\\r\\n\\r\\n')
  socket.on('data', (frame) => {
    if ((frame[0] & 15) === 8) return socket.end(Buffer.from([0x88, 0]))
    const length = frame[1] & 127
    const text = Buffer.from(frame.subarray(6, 6 + length).map((byte, index) => byte ^ frame[2 + index % 4]))
    socket.write(Buffer.concat([Buffer.from([0x81, length]), text.reverse()]))
  })
})
server.listen(process.env.PORT, '0.0.0.0')`

const domain = 'fn.example.org'
const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-tls-'))
const [certFile, keyFile] = [path.join(folder, 'live.pem'), path.join(folder, 'live.key')]
let platform: Platform
let port = 0
before(async () => {
  chmodSync(folder, 0o700)
  for (const name of ['first', 'second']) makeCertificate(name)
  install('first')
  platform = await startPlatform({
    flags: ['--url-domain', domain, '--tls-cert', certFile, '--tls-key', keyFile],
  })
  port = Number(new URL(platform.urlsUrl).port)
  // For fetch, which takes no certificate of its own.
  tls.setDefaultCACertificates([caOf('first').toString(), caOf('second').toString()])
  await deployFiles(platform, nodeFunction('echo', 'exports.handler = async (event) => event'))
  const web = nodeFunction('web', webSocketServer, { contract: 'http', command: ['node', 'index.js'] })
  await deployFiles(platform, { ...web, handler: '' })
  for (const name of ['echo', 'web'])
    assert.equal((await call(platform, 'PUT', `/v1/functions/${name}/url`, { auth: 'none' })).status, 200)
})
after(async () => {
  await platform.stop()
  rmSync(folder, { recursive: true, force: true })
})

function makeCertificate(name: string): void {
  const names = `subjectAltName=DNS:*.${domain},DNS:${domain},IP:127.0.0.1`
  const key = [
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-keyout',
    path.join(folder, `${name}.key`),
  ]
  const made = ['-out', path.join(folder, `${name}.pem`), '-days', '2', '-subj', `/CN=${name}`, '-addext', names]
  execFileSync('openssl', ['req', '-x509', ...key, ...made], { stdio: 'ignore' })
}

/** As a renewal does it: by rename, readable for root alone. */
function install(name: string): void {
  for (const [from, to] of [
    [`${name}.pem`, certFile],
    [`${name}.key`, keyFile],
  ] as const) {
    writeFileSync(`${to}.new`, readFileSync(path.join(folder, from)), { mode: 0o600 })
    renameSync(`${to}.new`, to)
  }
}

const caOf = (name: string): Buffer => readFileSync(path.join(folder, `${name}.pem`))

interface Got {
  readonly body: string
  readonly subject: string
  readonly localPort: number | undefined
  readonly isReused: boolean
}

async function ask(ca: Buffer, options: https.RequestOptions = {}): Promise<Got> {
  const servername = `echo.${domain}`
  const headers = { host: `${servername}:${port}` }
  const request = https.request({ host: '127.0.0.1', port, servername, ca, headers, agent: false, ...options })
  request.end()
  const [reply] = (await once(request, 'response')) as [IncomingMessage]
  const { socket } = reply
  assert.ok(socket instanceof tls.TLSSocket)
  const subject = socket.getPeerX509Certificate()?.subject ?? ''
  const { localPort } = socket
  const body = Buffer.concat(await reply.toArray()).toString()
  return { body, subject, localPort, isReused: request.reusedSocket }
}

/** What the log says from here on. */
async function said(since: number, pattern: RegExp): Promise<void> {
  const found = (): true | string => pattern.test(platform.output().slice(since)) || platform.output().slice(since)
  await until(found, { what: String(pattern) })
}

function hangUp(): number {
  const since = platform.output().length
  process.kill(platform.launcherPid, 'SIGHUP')
  return since
}

test('by host under TLS: the certificate is good for the name, and the event says how it came', async () => {
  assert.match(platform.urlsUrl, /^https:\/\/fn\.example\.org:\d+$/)
  const { body, subject } = await ask(caOf('first'))
  assert.equal(subject, 'CN=first')
  const { headers } = JSON.parse(body) as { headers: Record<string, string> }
  assert.deepEqual([headers['x-forwarded-proto'], headers['x-amzn-tls-version']], ['https', 'TLSv1.3'])
  await assert.rejects(ask(caOf('second')), /self-signed certificate/)
  await assert.rejects(ask(caOf('first'), { servername: 'echo.other.example' }), /does not match certificate/)
})

test('a WebSocket through TLS', async () => {
  const connect = { ca: caOf('first'), servername: `web.${domain}`, lookup: toThisMachine }
  const socket = new WebSocket(`wss://web.${domain}:${port}/`, { dispatcher: new Agent({ connect }) })
  const opened = Promise.withResolvers<void>()
  socket.addEventListener('open', () => opened.resolve())
  socket.addEventListener('error', ({ error }) => opened.reject(error))
  await opened.promise
  const message = new Promise((resolve) => socket.addEventListener('message', ({ data }) => resolve(data)))
  socket.send('olleh')
  assert.equal(await message, 'hello')
  const closed = new Promise((resolve) => socket.addEventListener('close', resolve))
  socket.close()
  await closed
})

test('SIGHUP: new connections get the new certificate, those that are there stay; files that cannot serve change nothing', async () => {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 })
  try {
    const before = await ask(caOf('first'), { agent })
    install('second')
    await said(hangUp(), /tls\.reloaded/)
    const kept = await ask(caOf('first'), { agent })
    assert.deepEqual([kept.subject, kept.isReused, kept.localPort], ['CN=first', true, before.localPort])
    assert.equal((await ask(caOf('second'))).subject, 'CN=second')
    assert.equal((await call(platform, 'GET', '/v1/functions')).status, 200)
    install('first')
    writeFileSync(keyFile, readFileSync(path.join(folder, 'second.key')))
    await said(hangUp(), /tls\.kept.*live\.key: it is not the key of the certificate in .*live\.pem/)
    rmSync(keyFile)
    await said(hangUp(), /tls\.kept.*live\.key.*[Nn]o such file/)
    assert.equal((await ask(caOf('second'))).subject, 'CN=second')
  } finally {
    agent.destroy()
  }
})

for (const [title, cert, key, message] of [
  ['no certificate', 'none.pem', 'first.key', /Cannot read tlsCert .*none\.pem: ENOENT/],
  [
    'a certificate that is none',
    'first.key',
    'first.key',
    /Cannot use tlsCert .*first\.key: it holds no certificate in PEM form/,
  ],
  [
    'a key that is none',
    'first.pem',
    'first.pem',
    /Cannot use tlsKey .*first\.pem: it holds no private key in PEM form/,
  ],
  [
    'a key of another certificate',
    'first.pem',
    'second.key',
    /Cannot use tlsKey .*second\.key: it is not the key of the certificate in .*first\.pem/,
  ],
] as const)
  test(`hearth up refuses ${title}, naming the file`, async () => {
    const files = ['--tls-cert', path.join(folder, cert), '--tls-key', path.join(folder, key)]
    const { code, stderr } = await runCli(['up', '--port', '0', '--data', path.join(folder, 'data'), ...files])
    assert.equal(code, 2, stderr)
    assert.match(stderr, message)
  })

function toThisMachine(
  _name: string,
  _options: unknown,
  found: (error: null, addresses: { address: string; family: number }[]) => void,
): void {
  found(null, [{ address: '127.0.0.1', family: 4 }])
}
