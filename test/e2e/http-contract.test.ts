import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { call, deployFiles, invoke, upload, zipOf } from '../support/functions.ts'
import { startPlatform, type Platform } from '../support/platform.ts'
import { until } from '../support/until.ts'

/* Servers of any kind behind the bridge: contracts http and azure, on the real platform, with Python's own HTTP server. */

let platform: Platform

before(async () => {
  platform = await startPlatform()
})
after(async () => {
  await platform.stop()
})

/** Does what the event's `do` says, in HTTP's terms. */
const server = `
import http.server, json, os, signal, sys, threading, time
running = 0
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass
    def do_POST(self):
        global running
        body = self.rfile.read(int(self.headers.get('content-length', 0)))
        event = json.loads(body or b'{}') if 'json' in self.headers.get('content-type', '') else {}
        do = event.get('do')
        if do == 'sleep':
            running += 1
            time.sleep(event['s'])
            most, running = running, running - 1
            return self.answer(200, {'pid': os.getpid(), 'running': most})
        if do == 'chunks':
            self.send_response(200); self.send_header('transfer-encoding', 'chunked'); self.send_header('content-type', 'text/plain'); self.end_headers()
            for n in range(event['n']):
                self.wfile.write(b'5\\r\\npart\\n\\r\\n')
            return self.wfile.write(b'0\\r\\n\\r\\n')
        if do == 'until-close':
            self.send_response(200); self.send_header('connection', 'close'); self.end_headers(); self.wfile.write(b'to the end')
            self.close_connection = True
            return
        if do == 'close-unsaid':
            self.answer(200, {'n': event['n']}); self.wfile.flush(); time.sleep(0.02)
            self.close_connection = True
            return
        if do == 'nothing': self.send_response(204); return self.end_headers()
        if do == 'cut':
            self.send_response(200); self.send_header('content-length', '100'); self.end_headers(); self.wfile.write(b'half')
            self.close_connection = True
            return
        if do == 'hang-up':
            self.close_connection = True
            return
        if do == 'garbage': return self.wfile.write(b'this is not HTTP\\r\\n\\r\\n')
        if do == 'exit': os._exit(7)
        if do == 'large': return self.answer(200, 'x' * event['bytes'])
        if do == 'env': return self.answer(200, {name: os.environ.get(name) for name in ('PORT', 'K_SERVICE', 'K_REVISION', 'OWN')})
        self.answer(event.get('status', 200), {'bytes': len(body), 'type': self.headers.get('content-type'), 'id': self.headers.get('hearth-invocation-id')}, event.get('headers', {}))
    def answer(self, status, value, headers={}):
        text = json.dumps(value).encode()
        self.send_response(status); self.send_header('content-type', 'application/json'); self.send_header('content-length', str(len(text)))
        for name, content in headers.items(): self.send_header(name, content)
        self.end_headers(); self.wfile.write(text)
def leave(*_):
    print('SIGTERM came', flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, leave)
class Server(http.server.ThreadingHTTPServer): request_queue_size = 100
Server(('0.0.0.0', int(os.environ['PORT'])), Handler).serve_forever()
`

const deploy = async (name: string, config: Record<string, unknown> = {}): Promise<unknown> =>
  deployFiles(platform, {
    name,
    runtime: 'python3.11',
    handler: '',
    files: { 'server.py': server },
    config: { contract: 'http', command: ['python3', 'server.py'], ...config },
  })

test("a server answers: status, headers and body are its own, the environment is Cloud Run's", async () => {
  await deploy('server', { port: 3456, env: { OWN: 'yes' } })
  const plain = await invoke(platform, 'server', {
    status: 418,
    headers: { 'x-own': 'kept', 'keep-alive': 'timeout=1' },
  })
  assert.equal(plain.status, 418)
  assert.equal(plain.headers.get('x-own'), 'kept')
  const said = plain.json<{ type: string; id: string }>()
  assert.deepEqual([said.type, said.id], ['application/json', plain.headers.get('hearth-invocation-id')])
  const env = (await invoke(platform, 'server', { do: 'env' })).json<Record<string, string>>()
  assert.deepEqual(env, { PORT: '3456', K_SERVICE: 'server', K_REVISION: 'server-1', OWN: 'yes' })
  const again = await invoke(platform, 'server', {})
  assert.equal(again.headers.get('hearth-start'), 'warm')
})

test('bodies come whole: in chunks, until the end, none, and megabytes both ways', async () => {
  const chunks = await invoke(platform, 'server', { do: 'chunks', n: 1000 })
  assert.equal(chunks.body.toString(), 'part\n'.repeat(1000))
  assert.equal((await invoke(platform, 'server', { do: 'until-close' })).body.toString(), 'to the end')
  const nothing = await invoke(platform, 'server', { do: 'nothing' })
  assert.deepEqual([nothing.status, nothing.body.length], [204, 0])
  const large = await invoke(platform, 'server', { do: 'large', bytes: 5_000_000 })
  assert.equal(large.body.length, 5_000_002)
  const event = { text: 'x'.repeat(5_000_000) }
  assert.equal((await invoke(platform, 'server', event)).json<{ bytes: number }>().bytes, JSON.stringify(event).length)
})

test('a server that closes each connection without having said so loses no request', async () => {
  await deploy('closing', { concurrency: 1 })
  for (let n = 0; n < 50; n++) {
    const reply = await invoke(platform, 'closing', { do: 'close-unsaid', n })
    assert.deepEqual([reply.status, reply.body.toString()], [200, `{"n": ${n}}`])
  }
})

test('a server that breaks HTTP: the invocation fails and says how, the next is served', async () => {
  for (const [what, type] of [
    ['cut', 'HttpServer.Truncated'],
    ['hang-up', 'HttpServer.Closed'],
    ['garbage', 'HttpServer.BadResponse'],
  ] as const) {
    const reply = await invoke(platform, 'server', { do: what })
    assert.equal(reply.headers.get('hearth-outcome'), 'failed', what)
    assert.equal(reply.json<{ errorType: string }>().errorType, type)
    assert.equal((await invoke(platform, 'server', {})).status, 200)
  }
})

test('a server that exits: crashed, and the next start serves', async () => {
  const reply = await invoke(platform, 'server', { do: 'exit' })
  assert.deepEqual([reply.status, reply.headers.get('hearth-outcome')], [502, 'crashed'])
  assert.equal((await invoke(platform, 'server', {})).status, 200)
})

test('a server whose time is over is asked to end, frozen or not, and what it says then is in the log', async () => {
  for (const [name, freezeAfterMs] of [
    ['parting', 60_000],
    ['parting-frozen', 100],
  ] as const) {
    await deploy(name, { keepAliveMs: 1_000, freezeAfterMs })
    assert.equal((await invoke(platform, name, {})).status, 200)
    const hasSaid = async (): Promise<true | string> => {
      const log = (await call(platform, 'GET', `/v1/functions/${name}/logs?tail=50`)).body.toString()
      return log.includes('SIGTERM came') || log
    }
    await until(hasSaid, { what: 'its last words' })
  }
})

test('instanceConcurrency: one server gets as many requests at a time', async () => {
  await deploy('shared', { instanceConcurrency: 8, concurrency: 20 })
  await invoke(platform, 'shared', {})
  const replies = await Promise.all(
    Array.from({ length: 8 }, async () => invoke(platform, 'shared', { do: 'sleep', s: 0.4 })),
  )
  const seen = replies.map((reply) => reply.json<{ pid: number; running: number }>())
  assert.equal(new Set(seen.map(({ pid }) => pid)).size, 1)
  assert.ok(Math.max(...seen.map(({ running }) => running)) >= 6, JSON.stringify(seen))
})

test('instanceConcurrency: what times out leaves the server to the others', async () => {
  const long = invoke(platform, 'shared', { do: 'sleep', s: 1 })
  const late = await call(
    platform,
    'POST',
    '/v1/functions/shared/invoke',
    { do: 'sleep', s: 30 },
    { 'Hearth-Timeout-Ms': '300' },
  )
  assert.equal(late.status, 504)
  const reply = await long
  assert.equal(reply.status, 200)
  const next = await invoke(platform, 'shared', { do: 'sleep', s: 0 })
  assert.equal(next.headers.get('hearth-start'), 'warm')
})

test('a server on ::1 alone, as "localhost" may mean, is found', async () => {
  const files = {
    'index.js': `require('node:http').createServer((_, reply) => reply.end('from ::1')).listen(8080, '::1')`,
  }
  const config = { contract: 'http', command: ['node', 'index.js'] }
  await deployFiles(platform, { name: 'v6', runtime: 'node', handler: '', files, config })
  assert.equal((await invoke(platform, 'v6', {})).body.toString(), 'from ::1')
})

test('a server on another port is refused with the port that it listens on', async () => {
  const code = { artifact: await upload(platform, await zipOf({ 'x.py': '' })) }
  const listens = 'import socket, time; server = socket.create_server(("", 3000)); time.sleep(100)'
  // The limit stays at its 10 s: the look at other ports comes after 1 s, and each second again.
  const body = { name: 'astray', runtime: 'python3.11', contract: 'http', command: ['python3', '-c', listens], code }
  const refused = await call(platform, 'POST', '/v1/functions', body)
  assert.equal(refused.status, 400)
  assert.match(
    refused.json<{ error: { message: string } }>().error.message,
    /Nothing listens on port 8080\. The program listens on 3000: /,
  )
})

test('a program that ends before it listens: the start fails and says so', async () => {
  const command = ['python3', '-c', 'raise SystemExit(3)']
  const code = { artifact: await upload(platform, await zipOf({ 'x.py': '' })) }
  const body = { name: 'ends', runtime: 'python3.11', contract: 'http', command, code }
  assert.equal((await call(platform, 'POST', '/v1/functions', body)).status, 400)
  assert.equal((await call(platform, 'POST', '/v1/functions?mustLoad=false', body)).status, 201)
  const reply = await invoke(platform, 'ends', {})
  assert.deepEqual([reply.status, reply.headers.get('hearth-outcome')], [502, 'crashed'], reply.body.toString())
  assert.match(
    reply.body.toString(),
    /\\"python3\\" ended with exit code 3 before it accepted a connection on port 8080/,
  )
})

test('an update to another program is started once before it goes live: what does not start is refused by its file, the version before serves on', async () => {
  const { version: before } = (await call(platform, 'GET', '/v1/functions/server')).json<{ version: number }>()
  const elf = Buffer.alloc(64)
  elf.write('\x7fELF', 'latin1')
  elf.writeUInt16LE(process.arch === 'arm64' ? 62 : 183, 18)
  const foreign = { artifact: await upload(platform, await zipOf({ 'bin/serve': elf })) }
  for (const [body, why] of [
    [
      { command: ['sleep', '100'], initTimeoutMs: 1_000 },
      /"sleep 100" did not accept a connection on port 3456 within 1\.00 seconds \(initTimeoutMs\)/,
    ],
    [{ command: ['./no-such'] }, /Cannot start "\.\/no-such": there is no such file in the code/],
    [{ command: ['./server.py'] }, /Cannot start "\.\/server\.py": it is not executable: give it mode 755/],
    [{ command: [] }, /There is no \/var\/task\/bootstrap and no \/var\/task\/run\.sh/],
    [
      { command: ['./bin/serve'], code: foreign },
      /Cannot start "\.\/bin\/serve": it is built for (aarch64|x86_64), this machine is/,
    ],
  ] as const) {
    const refused = await call(platform, 'PATCH', '/v1/functions/server', body)
    const { error } = refused.json<{ error: { message: string } }>()
    assert.equal(refused.status, 400, error.message)
    assert.match(error.message, why)
  }
  assert.equal((await invoke(platform, 'server', {})).status, 200)
  assert.equal((await call(platform, 'GET', '/v1/functions/server')).json<{ version: number }>().version, before)
})

/** A custom handler of Azure Functions: answers in Azure's words, or, where requests are forwarded, in HTTP's. */
const customHandler = `
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass
    def do_GET(self): self.do_POST()
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('content-length', 0)))
        if os.path.exists('forwards'):
            return self.answer(203, [self.command, self.path, self.headers.get('x-own'), body.decode()], 'forwarded')
        asked = json.loads(body)
        asked['path'], asked['id'] = self.path, self.headers.get('x-azure-functions-invocationid')
        req = asked['Data']['req']
        if req['Body'] == 'fail': return self.answer(500, 'on purpose')
        if req['Body'] == 'value': return self.answer(200, {'Outputs': None, 'Logs': None, 'ReturnValue': {'n': 1}})
        out = {'statusCode': 201, 'headers': {'x-own': 'kept'}, 'body': json.dumps(asked)}
        self.answer(200, {'Outputs': {'res': out}, 'Logs': ['a line of ' + req['Method']], 'ReturnValue': None})
    def answer(self, status, value, own=''):
        text = json.dumps(value).encode()
        self.send_response(status); self.send_header('content-length', str(len(text))); self.send_header('x-own', own)
        self.end_headers(); self.wfile.write(text)
http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['FUNCTIONS_CUSTOMHANDLER_PORT'])), Handler).serve_forever()
`

async function deployAzure(name: string, enableForwardingHttpRequest: boolean): Promise<string> {
  const description = { defaultExecutablePath: 'python3', arguments: ['handler.py'] }
  const bindings = [
    { type: 'httpTrigger', direction: 'in', name: 'req', methods: ['get', 'post'] },
    { type: 'http', direction: 'out', name: 'res' },
  ]
  const files = {
    'host.json': JSON.stringify({ version: '2.0', customHandler: { description, enableForwardingHttpRequest } }),
    'hello/function.json': JSON.stringify({ bindings }),
    'handler.py': customHandler,
    ...(enableForwardingHttpRequest && { forwards: '' }),
  }
  await deployFiles(platform, { name, runtime: 'python3.11', handler: '', files, config: { contract: 'azure' } })
  await call(platform, 'PUT', `/v1/functions/${name}/url`, { auth: 'none' })
  return `${platform.urlsUrl}/fn/${name}`
}

interface Asked {
  readonly path: string
  readonly id: string
  readonly Data: { readonly req: Record<string, unknown> }
  readonly Metadata: { readonly sys: { readonly MethodName: string } }
}

test('azure: Data and Metadata go in; Outputs, Logs and ReturnValue come out', async () => {
  const url = await deployAzure('azure', false)
  const reply = await invoke(platform, 'azure', { a: 1 })
  assert.deepEqual([reply.status, reply.headers.get('x-own')], [201, 'kept'], reply.body.toString())
  const asked = reply.json<Asked>()
  assert.deepEqual([asked.path, asked.Metadata.sys.MethodName], ['/hello', 'hello'])
  assert.equal(asked.id, reply.headers.get('hearth-invocation-id'))
  const { Method, Url, Body } = asked.Data.req
  assert.deepEqual([Method, Url, Body], ['POST', 'http://localhost/api/hello', '{"a":1}'])
  const web = await fetch(`${url}/api/hello?x=y`, { headers: { 'X-Own': 'mine' } })
  assert.deepEqual([web.status, web.headers.get('x-own')], [201, 'kept'])
  const { req } = ((await web.json()) as Asked).Data
  assert.deepEqual([req['Method'], req['Query'], req['Body']], ['GET', { x: 'y' }, ''])
  assert.equal(req['Url'], 'http://localhost/api/hello?x=y')
  const value = await fetch(url, { method: 'POST', body: 'value' })
  assert.deepEqual([value.status, await value.json()], [200, { n: 1 }])
  const logs = async (): Promise<string> =>
    (await call(platform, 'GET', '/v1/functions/azure/logs?tail=50')).body.toString()
  await until(async () => /a line of POST[^]*a line of GET/.test(await logs()) || logs(), {
    what: 'the Logs of the answers',
  })
})

test('azure: a handler that answers 500 has failed, and the next invocation is served', async () => {
  const failed = await fetch(`${platform.urlsUrl}/fn/azure`, { method: 'POST', body: 'fail' })
  assert.equal(failed.status, 502)
  const { items } = (await call(platform, 'GET', '/v1/functions/azure/invocations')).json<{
    items: { outcome: string; error: { errorType: string; errorMessage: string } | null }[]
  }>()
  assert.deepEqual(
    [items[0]?.outcome, items[0]?.error?.errorType, items[0]?.error?.errorMessage],
    ['failed', 'HttpServer.HandlerFailed', 'The custom handler answered 500: "on purpose"'],
  )
  assert.equal((await invoke(platform, 'azure', {})).headers.get('hearth-start'), 'warm')
})

test('azure: with forwarding, requests and answers pass as they are', async () => {
  const url = await deployAzure('azure-forwarding', true)
  const plain = await invoke(platform, 'azure-forwarding', { a: 1 })
  assert.deepEqual([plain.status, plain.headers.get('x-own')], [203, 'forwarded'], plain.body.toString())
  assert.deepEqual(plain.json(), ['POST', '/api/hello', null, '{"a":1}'])
  const web = await fetch(`${url}/api/hello?x=y`, { headers: { 'X-Own': 'mine' } })
  assert.deepEqual([web.status, await web.json()], [203, ['GET', '/api/hello?x=y', 'mine', '']])
})
