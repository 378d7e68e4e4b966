import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { runCli } from '../support/platform.ts'
import { vmMissing } from '../support/vm-rig.ts'

interface Findings {
  readonly fixes: readonly { what: string; isThere: boolean; detail: string; hint?: string }[]
  readonly drivers: readonly { name: string; works: boolean; fix?: string; accelerator?: string | null }[]
}

const skip = vmMissing() ?? (existsSync('/dev/kvm') ? false : 'needs a /dev/kvm, working or not')

test(
  'doctor --fix: kernel and images are there after it, and what a mirror passes off as Firecracker is refused',
  { skip },
  async (t) => {
    const asked: (string | undefined)[] = []
    const server = http.createServer((request, response) => {
      asked.push(request.url)
      response.end('not the release')
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const mirror = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    t.after(() => server.close())
    const { stdout, stderr, code } = await runCli(['doctor', '--fix', '--mirror', mirror, '--json'])
    assert.equal(code, 0, stderr)
    const { fixes, drivers }: Findings = JSON.parse(stdout)
    const of = (what: string) => fixes.find((fix) => fix.what.startsWith(what))
    if (of('Firecracker')?.isThere === true) return t.skip('Firecracker is on this machine')
    assert.match(asked[0] ?? '', /^\/v1\.17\.0\/firecracker-v1\.17\.0-(x86_64|aarch64)\.tgz$/)
    assert.match(
      of('Firecracker')?.detail ?? '',
      /^Refused .* from http.*: its SHA-256 is [0-9a-f]{64}, the release's is [0-9a-f]{64}\. Nothing was installed\.$/,
    )
    assert.match(drivers.find(({ name }) => name === 'firecracker')?.fix ?? '', /sudo hearth doctor --fix/)
    assert.match(of('QEMU')?.detail ?? '', /^It is there: \//)
    assert.match(of('kernel')?.detail ?? '', /^Linux \d+\.\d+/)
    assert.ok(of('image of node')?.isThere)
    const qemu = drivers.find(({ name }) => name === 'qemu')
    assert.equal(qemu?.works, true)
    if (qemu?.accelerator === 'tcg') assert.match(qemu.fix ?? '', /no security boundary, and auto never takes it/)

    server.close()
    server.closeAllConnections()
    const unreachable = await runCli(['doctor', '--fix', '--mirror', mirror, '--json'])
    const { fixes: later }: Findings = JSON.parse(unreachable.stdout)
    const firecracker = later.find(({ what }) => what === 'Firecracker')
    assert.match(firecracker?.detail ?? '', /^Cannot download Firecracker 1\.17\.0 from http.*: connect ECONNREFUSED/)
    assert.match(firecracker?.hint ?? '', /--mirror.*SHA-256 is [0-9a-f]{64}/)
  },
)
