import { commands } from '../cli/commands.ts'
import { run } from '../cli/run.ts'
import { appRoot, appVersion } from './app.ts'
import { machineCommands } from './commands.ts'

/* The program behind bin/hearth: the commands that talk to a platform, and those that are about this machine. */

// A reader that has seen enough (`| head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  process.stderr.write(`hearth: Cannot write the output: ${error.message}.\n`)
  process.exit(9)
})

process.exitCode = await run({
  argv: process.argv.slice(2),
  commands: [...machineCommands, ...commands],
  version: appVersion,
  root: appRoot,
  env: process.env,
  cwd: process.cwd(),
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  interrupt: untilInterrupted,
})

/** From the first call on, Ctrl-C or SIGTERM aborts the signal in place of ending the process; a second one ends it. */
function untilInterrupted(): AbortSignal {
  const controller = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => controller.abort())
  return controller.signal
}
