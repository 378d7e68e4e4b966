import { readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Receipt } from '@hearth/sdk'
import { commands } from '../cli/commands.ts'
import { isRunning } from '../cli/is-running.ts'
import { createOutput, formatBytes } from '../cli/output.ts'
import { renderReceipt } from '../cli/receipt.ts'
import { run } from '../cli/run.ts'
import { appRoot, appVersion } from './app.ts'
import { apiKeyFile, serverFile, type ServerFacts } from './platform-files.ts'

/* hearth up --first-run: waits for the platform, deploys the example unless it is there, sends it a photo and shows the receipt.
 * Runs as who typed the command, beside the platform, through the same command line that they use next. */

const waitMsMax = 120_000
const name = 'process-image'
const event = '{"image": "photo.jpg", "width": 800}'
const example = path.join(appRoot, 'examples', name)

const [data = '', launcherPid = '0'] = process.argv.slice(2)
const { stdout, stderr } = process
const output = createOutput({ stdout, stderr, env: process.env, isJson: false })

async function main(): Promise<void> {
  const server = await untilServing()
  if (server === null) return
  const { url } = server
  const apiKey = (await readFile(server.apiKeyFile, 'utf8')).trim()
  const cli = commandLine({ url, apiKey })
  if ((await cli('function', 'get', name)).code !== 0) await deploy(cli)
  const invoked = await cli('function', 'invoke', name, '--data', event, '--json')
  if (invoked.code !== 0) return output.note(`The example did not succeed:\n${invoked.stdout}${invoked.stderr}`)
  const reply = JSON.parse(invoked.stdout) as { invocationId: string; result: unknown; contentType: string }
  const image = imageOf(reply.result)
  const file = path.join(data, 'thumbnail.jpg')
  if (image !== null) {
    // The folder is the service user's and this may be root: never write through a link that lies there.
    await rm(file, { force: true })
    await writeFile(file, image, { flag: 'wx' })
  }
  const receipt = JSON.parse((await cli('invocation', 'get', reply.invocationId, '--json')).stdout) as Receipt
  output.line(`\n${renderReceipt(receipt, { columns: output.columns, paint: output.paint })}\n`)
  if (image === null) output.line(`result     ${JSON.stringify(reply.result).slice(0, 200)}`)
  else output.line(`thumbnail  ${shown(file)} (${formatBytes(image.length)})`)
  output.line(`platform   ${url}`)
  output.line(`API key    in ${shown(apiKeyFile(data))}\n`)
  output.line(nextSteps(url))
}

/** With Pillow where pip can fetch it; the example also works without, only slower. */
async function deploy(cli: CommandLine): Promise<void> {
  const settings = ['--runtime', 'python', '--handler', 'main.handler', '--memory', '512', '--timeout', '60']
  const create = ['function', 'create', '--name', name, '--code', example, ...settings]
  output.status(`deploying ${shown(example)} ...`)
  const built = await cli(...create)
  if (built.code === 0) return
  const { code, stderr: said } = await cli(...create, '--no-build')
  output.status('')
  if (code !== 0) throw new Error(`Cannot deploy ${shown(example)}:\n${said.trim()}`)
  output.note(`Deployed ${shown(example)} without Pillow, which resizes faster: ${reasonOf(built.stderr)}`)
}

/** What the command line said went wrong, without what it said on the way. */
function reasonOf(text: string): string {
  const lines = text.trim().split('\n')
  return (lines.find((line) => line.startsWith('hearth: ')) ?? lines[0] ?? '').replace(/^hearth: /, '')
}

/** The picture in the example's answer. */
function imageOf(result: unknown): Buffer | null {
  const data = typeof result === 'object' && result !== null && 'data' in result ? result.data : null
  return typeof data === 'string' ? Buffer.from(data, 'base64') : null
}

function nextSteps(url: string): string {
  const hearth = `./${path.relative(process.cwd(), path.join(appRoot, 'bin/hearth'))}`
  return `Try next, in another terminal:
  ${hearth} function invoke ${name} --data '{"image": "photo.jpg", "width": 200}' --receipt
  ${hearth} function logs ${name} --follow
  ${hearth} init node ./hello && ${hearth} dev ./hello
  ${hearth} doctor
  curl -X POST ${url}/v1/functions/${name}/invoke -H "Authorization: Bearer $(cat ${shown(apiKeyFile(data))})" -H "Content-Type: application/json" -d '{"image": "photo.jpg", "width": 200}'`
}

type CommandLine = (...argv: string[]) => Promise<{ code: number; stdout: string; stderr: string }>

/** The command line against one platform, its output kept. The key is named, so that a project in use elsewhere does not matter. */
function commandLine({ url, apiKey }: { url: string; apiKey: string }): CommandLine {
  return async (...argv) => {
    const out: string[] = []
    const err: string[] = []
    const code = await run({
      argv,
      commands,
      version: appVersion,
      root: appRoot,
      env: { ...process.env, HEARTH_URL: url, HEARTH_API_KEY: apiKey, HEARTH_PROJECT: undefined },
      cwd: process.cwd(),
      stdin: process.stdin,
      stdout: { write: (text) => out.push(String(text)) },
      stderr: { write: (text) => err.push(String(text)) },
      interrupt: () => new AbortController().signal,
    })
    return { code, stdout: out.join(''), stderr: err.join('') }
  }
}

/** Null when the platform ended before it served. */
async function untilServing(): Promise<ServerFacts | null> {
  const startedAt = performance.now()
  while (performance.now() - startedAt < waitMsMax) {
    if (!isRunning(Number(launcherPid))) return null
    const facts = await readFile(serverFile(data), 'utf8').then(
      (text) => JSON.parse(text) as ServerFacts,
      () => null,
    )
    // A file that a killed platform left behind names a process that is gone.
    if (facts !== null && isRunning(facts.pid)) return facts
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return null
}

function shown(file: string): string {
  const relative = path.relative(process.cwd(), file)
  return relative.startsWith('..') ? file : relative
}

try {
  await main()
} catch (error) {
  output.note(`hearth: ${error instanceof Error ? error.message : String(error)}`)
}
