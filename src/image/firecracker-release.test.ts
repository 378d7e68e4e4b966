import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { installFirecracker, pinnedRelease, type FirecrackerRelease } from './firecracker-release.ts'

const scratch = mkdtempSync(path.join(os.tmpdir(), 'hearth-release-'))
const mirrors: Mirror[] = []
after(async () => {
  await Promise.all(mirrors.map((each) => each.close()))
  rmSync(scratch, { recursive: true, force: true })
})

const archive = makeArchive()
const release: FirecrackerRelease = {
  version: '9.9.9',
  arch: 'x86_64',
  sha256: createHash('sha256').update(archive).digest('hex'),
}

/** As the project packs it: programs among other files, below one folder. */
function makeArchive(): Buffer {
  const own = path.join(scratch, 'pack/release-v9.9.9-x86_64')
  mkdirSync(own, { recursive: true })
  // Large enough to be cut in the middle.
  for (const name of ['firecracker', 'jailer'])
    writeFileSync(path.join(own, `${name}-v9.9.9-x86_64`), `#!/bin/sh\n# ${name}\n${randomText()}`, { mode: 0o700 })
  writeFileSync(path.join(own, 'LICENSE'), 'text')
  const options = { cwd: path.join(scratch, 'pack'), maxBuffer: 2 ** 26 }
  return execFileSync('tar', ['-cz', path.basename(own)], options)
}

function randomText(): string {
  return execFileSync('sh', ['-c', 'head -c 300000 /dev/urandom | base64'], { encoding: 'utf8', maxBuffer: 2 ** 24 })
}

type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => void

interface Mirror {
  readonly url: string
  readonly ranges: (string | undefined)[]
  close(): Promise<void>
}

/** A server that gives each of `answers` once, the last for ever. */
async function mirror(...answers: Answer[]): Promise<Mirror> {
  const ranges: (string | undefined)[] = []
  const server = http.createServer((request, response) => {
    assert.equal(request.url, '/v9.9.9/firecracker-v9.9.9-x86_64.tgz')
    ranges.push(request.headers.range)
    const answer = answers.length > 1 ? answers.shift() : answers[0]
    answer?.(request, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const opened: Mirror = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    ranges,
    async close() {
      if (!server.listening) return
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  mirrors.push(opened)
  return opened
}

const whole: Answer = (_request, response) => response.setHeader('content-length', archive.length).end(archive)
/** Says how much comes, sends half of it, and is gone. */
const half: Answer = (_request, response) => {
  response.setHeader('content-length', archive.length)
  response.write(archive.subarray(0, archive.length >> 1), () => response.destroy())
}
const rest: Answer = ({ headers }, response) => {
  const from = Number(/^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1])
  response.statusCode = 206
  response.setHeader('content-range', `bytes ${from}-${archive.length - 1}/${archive.length}`)
  response.end(archive.subarray(from))
}

async function install(name: string, from: Mirror, of = release): ReturnType<typeof installFirecracker> {
  return installFirecracker(path.join(scratch, name), { release: of, mirror: from.url, report: () => {} })
}

const left = (name: string): string[] => readdirSync(path.join(scratch, name, 'tmp'))

test('installFirecracker: both programs, to be run, and nothing else; what is there is not fetched again', async () => {
  const server = await mirror(whole)
  const { firecracker, jailer } = await install('good', server)
  await server.close()
  assert.match(readFileSync(firecracker, 'utf8'), /^#!\/bin\/sh\n# firecracker\n/)
  assert.match(readFileSync(jailer, 'utf8'), /# jailer\n/)
  assert.deepEqual(
    [firecracker, jailer, path.dirname(jailer)].map((file) => statSync(file).mode & 0o777),
    [0o755, 0o755, 0o755],
  )
  assert.deepEqual(readdirSync(path.dirname(jailer)).toSorted(), ['firecracker', 'jailer'])
  assert.deepEqual(left('good'), [])
  assert.equal((await install('good', server)).jailer, jailer, 'the server is gone')
})

test('installFirecracker: an archive of another digest is refused by both digests, and nothing of it stays', async () => {
  const server = await mirror(whole)
  const other = { ...release, sha256: 'a'.repeat(64) }
  await assert.rejects(install('other', server, other), {
    code: 'driver_failed',
    message: `Refused firecracker-v9.9.9-x86_64.tgz from ${server.url}: its SHA-256 is ${release.sha256}, the release's is ${'a'.repeat(64)}. Nothing was installed.`,
  })
  assert.deepEqual(readdirSync(path.join(scratch, 'other')), ['tmp'])
  assert.deepEqual(left('other'), [])
  await server.close()
})

test('installFirecracker: a download that broke off is continued', async () => {
  const server = await mirror(half, rest)
  await assert.rejects(install('half', server), { code: 'driver_failed', retryable: true, message: /Cannot download/ })
  assert.deepEqual(left('half'), ['firecracker-v9.9.9-x86_64.tgz.part'])
  const { size } = statSync(path.join(scratch, 'half/tmp/firecracker-v9.9.9-x86_64.tgz.part'))
  assert.ok(size > 0 && size < archive.length, `${size} of ${archive.length} bytes came`)
  const { firecracker } = await install('half', server)
  assert.ok(existsSync(firecracker))
  assert.deepEqual(server.ranges, [undefined, `bytes=${size}-`])
  assert.deepEqual(left('half'), [])
  await server.close()
})

test('installFirecracker: begins anew where the server cannot continue, and where what was left is of another archive', async () => {
  const server = await mirror(half, whole)
  await assert.rejects(install('anew', server))
  assert.ok(existsSync((await install('anew', server)).jailer))
  await server.close()

  const wrong = path.join(scratch, 'wrong/tmp/firecracker-v9.9.9-x86_64.tgz.part')
  mkdirSync(path.dirname(wrong), { recursive: true })
  writeFileSync(wrong, 'x'.repeat(archive.length + 10))
  const strict = await mirror((_request, response) => response.writeHead(416).end(), whole)
  await assert.rejects(install('wrong', strict), /its SHA-256 is/)
  assert.ok(existsSync((await install('wrong', strict)).jailer))
  assert.deepEqual(strict.ranges, [`bytes=${archive.length + 10}-`, undefined])
  await strict.close()
})

test('installFirecracker: a server that is not there, has nothing, or sends for ever is named', async () => {
  const server = await mirror((_request, response) => response.writeHead(404).end('no'))
  await assert.rejects(install('none', server), {
    message: `Cannot download Firecracker 9.9.9 from ${server.url}v9.9.9/firecracker-v9.9.9-x86_64.tgz: the server answers 404.`,
    detail: new RegExp(`name another server with --mirror, .* SHA-256 is ${release.sha256}`),
  })
  await server.close()
  await assert.rejects(install('none', server), /Cannot download .*: connect ECONNREFUSED 127\.0\.0\.1:\d+\.$/)
})

test('installFirecracker: an archive without the programs is refused', async () => {
  const empty = execFileSync('tar', ['-cz', '-T', '/dev/null'])
  const server = await mirror((_request, response) => response.end(empty))
  const sha256 = createHash('sha256').update(empty).digest('hex')
  await assert.rejects(install('empty', server, { ...release, sha256 }), /Cannot unpack Firecracker 9\.9\.9: /)
  assert.deepEqual(readdirSync(path.join(scratch, 'empty')), ['tmp'])
  await server.close()
})

test('pinnedRelease: for the processors that Firecracker runs on', () => {
  for (const [arch, name] of [
    ['x64', 'x86_64'],
    ['arm64', 'aarch64'],
  ] as const) {
    const found = pinnedRelease(arch)
    assert.equal(found?.arch, name)
    assert.match(found?.sha256 ?? '', /^[0-9a-f]{64}$/)
  }
  assert.equal(pinnedRelease('riscv64'), null)
})
