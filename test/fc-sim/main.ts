import { existsSync, mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { ArgumentError, checkId, parseArguments, type Argument } from './arguments.ts'
import { Controller } from './controller.ts'
import { Log } from './log.ts'
import { serve } from './server.ts'

/* fc-sim: Firecracker's command line and API over QEMU, so that the driver's real code runs where there is no KVM. */

const version = '1.13.1'
const badArguments = 153
const known: readonly Argument[] = [
  { name: 'api-sock', kind: 'value', initial: '/run/firecracker.socket' },
  { name: 'id', kind: 'value', initial: 'anonymous-instance' },
  { name: 'seccomp-filter', kind: 'value', forbids: 'no-seccomp' },
  { name: 'no-seccomp', kind: 'flag', forbids: 'seccomp-filter' },
  { name: 'start-time-us', kind: 'value' },
  { name: 'start-time-cpu-us', kind: 'value' },
  { name: 'parent-cpu-time-us', kind: 'value' },
  { name: 'log-path', kind: 'value' },
  { name: 'level', kind: 'value' },
  { name: 'module', kind: 'value' },
  { name: 'show-level', kind: 'flag' },
  { name: 'show-log-origin', kind: 'flag' },
  { name: 'metrics-path', kind: 'value' },
  { name: 'boot-timer', kind: 'flag' },
  { name: 'http-api-max-payload-size', kind: 'value', initial: '51200' },
]

async function main(): Promise<void> {
  const args = parseArguments(process.argv.slice(2), known)
  if (args.has('version') || args.has('help')) return void process.stdout.write(`Firecracker v${version}\n\n`)
  const id = checkId(args.value('id') ?? '')
  const log = new Log(id)
  const metricsPath = args.value('metrics-path')
  log.configure({ path: args.value('log-path') ?? undefined, level: args.value('level') ?? undefined })
  if (metricsPath !== null) log.openMetrics(metricsPath)
  const socketPath = args.value('api-sock') ?? ''
  if (existsSync(socketPath))
    throw new Error(`Failed to open the API socket at: ${socketPath}. Check that it is not already used.`)
  // Short in a jail, where it is in the root; and what is left of a killed one goes with the folder of its socket.
  const workFolder = path.join(path.dirname(socketPath), '.fc-sim')
  mkdirSync(workFolder, { mode: 0o700 })
  const end = (code: number): void => {
    log.write(code === 0 ? 'info' : 'error', `Firecracker exiting. exit_code=${code}`)
    log.flushMetrics()
    process.exit(code)
  }
  process.on('exit', () => rmSync(workFolder, { recursive: true, force: true }))
  const controller = new Controller({ workFolder, log, onEnd: end })
  const payloadBytesMax = Number(args.value('http-api-max-payload-size'))
  await serve(socketPath, { controller, id, version, payloadBytesMax })
  log.write('info', `Running Firecracker v${version}`)
}

main().catch((error: unknown) => {
  process.stderr.write(`Error: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(error instanceof ArgumentError ? badArguments : 1)
})
