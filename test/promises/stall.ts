import type { Row } from './measure.ts'
import { quietMoment } from './quiet.ts'
import { deploy, invoke, invokeHeaders, withPlatform } from './subject.ts'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { ZipFile } from 'yazl'
import { buffer } from 'node:stream/consumers'
import { call, upload } from '../support/functions.ts'

const rounds = 4
const files = 500
const fileBytes = 100 * 1024

/** The invoke loop while a 50 MB bundle is uploaded, checked and unpacked: longest delay seen by perf_hooks inside the platform, the worst of
 *  `rounds` deploys. */
export default async function stall(folder: string): Promise<Row[]> {
  return withPlatform(folder, {}, async (platform) => {
    await deploy(platform, folder, { language: 'node', name: 'steady' })
    await invoke(platform, 'steady')
    const idle: number[] = []
    const deploying: number[] = []
    const bystander: number[] = []
    const bare = new Bystander()
    for (let round = 0; round < rounds; round++) {
      const zip = await bundle()
      await quietMoment()
      await lagMs(platform)
      await new Promise((resolve) => setTimeout(resolve, 2_000))
      idle.push(await lagMs(platform))
      await bare.lagMs()
      const artifact = await upload(platform, zip)
      const made = await call(platform, 'POST', '/v1/functions', {
        name: `big-${round}`,
        runtime: 'node26',
        handler: 'index.handler',
        code: { artifact },
      })
      if (made.status !== 201) throw new Error(`Cannot deploy the bundle: ${made.status} ${made.body.toString()}`)
      deploying.push(await lagMs(platform))
      bystander.push(await bare.lagMs())
    }
    bare.close()
    return [
      {
        promise: 'stall',
        subject: 'longest stop of the invoke loop while a 50 MB bundle deploys',
        value: Math.max(...deploying),
        unit: 'ms',
        limit: null,
        bound: { op: '<=', value: 10 },
        note: `perf_hooks in the platform, ${files} files, worst of ${rounds} deploys; idle before: ${Math.max(...idle).toFixed(1)} ms; a bare Node that does nothing, meanwhile: ${Math.max(...bystander).toFixed(1)} ms`,
        samples: { deploying, idle, bystander },
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

/** A Node that does nothing: what it sees is the machine's. */
class Bystander {
  static readonly #script = `
    const delay = require('node:perf_hooks').monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    process.stdin.on('data', () => { console.log(delay.max / 1e6); delay.reset() })`
  readonly #process = spawn(process.execPath, ['-e', Bystander.#script], { stdio: ['pipe', 'pipe', 'inherit'] })

  /** Longest delay since the last call. */
  async lagMs(): Promise<number> {
    this.#process.stdin.write('?')
    const [line] = (await once(this.#process.stdout, 'data')) as [Buffer]
    return Number(line.toString())
  }

  close(): void {
    this.#process.kill()
  }
}

async function bundle(): Promise<Buffer> {
  const zip = new ZipFile()
  zip.addBuffer(Buffer.from('exports.handler = async () => 1\n'), 'index.js')
  for (let n = 0; n < files; n++) zip.addBuffer(randomBytes(fileBytes), `data/${n}.bin`)
  zip.end()
  return buffer(zip.outputStream)
}
