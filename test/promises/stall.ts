import type { Row } from './measure.ts'
import { deploy, invoke, invokeHeaders, withPlatform } from './subject.ts'
import { randomBytes } from 'node:crypto'
import { ZipFile } from 'yazl'
import { buffer } from 'node:stream/consumers'
import { call, upload } from '../support/functions.ts'

const files = 500
const fileBytes = 100 * 1024

/** The invoke loop while a 50 MB bundle is uploaded, checked and unpacked: longest delay seen by perf_hooks inside the platform. */
export default async function stall(folder: string): Promise<Row[]> {
  return withPlatform(folder, {}, async (platform) => {
    await deploy(platform, folder, { language: 'node', name: 'steady' })
    await invoke(platform, 'steady')
    await lagMs(platform)
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    const quietMs = await lagMs(platform)
    const artifact = await upload(platform, await bundle())
    const made = await call(platform, 'POST', '/v1/functions', {
      name: 'big',
      runtime: 'node26',
      handler: 'index.handler',
      code: { artifact },
    })
    if (made.status !== 201) throw new Error(`Cannot deploy the bundle: ${made.status} ${made.body.toString()}`)
    return [
      {
        promise: 'stall',
        subject: 'longest stop of the invoke loop while a 50 MB bundle deploys',
        value: await lagMs(platform),
        unit: 'ms',
        limit: null,
        bound: { op: '<=', value: 10 },
        note: `perf_hooks in the platform, ${files} files; idle before: ${quietMs.toFixed(1)} ms`,
      },
    ]
  })
}

/** Longest delay since the last scrape; reading it resets it. */
async function lagMs(platform: { url: string; apiKey: string; pid: number }): Promise<number> {
  const reply = await fetch(`${platform.url}/metrics`, {
    headers: { authorization: invokeHeaders(platform as never)['authorization'] ?? '' },
  })
  const text = await reply.text()
  return Number(/^nodejs_eventloop_lag_max_seconds ([\d.e-]+)/m.exec(text)?.[1]) * 1000
}

async function bundle(): Promise<Buffer> {
  const zip = new ZipFile()
  zip.addBuffer(Buffer.from('exports.handler = async () => 1\n'), 'index.js')
  for (let n = 0; n < files; n++) zip.addBuffer(randomBytes(fileBytes), `data/${n}.bin`)
  zip.end()
  return buffer(zip.outputStream)
}
