import { openDrivers } from './drivers.ts'
import { openLauncher } from './launcher.ts'
import { createLogger } from './logger.ts'
import { readConfig } from './config.ts'

/* What `hearth doctor` runs under a launcher of its own: tries a sandbox and prints, as JSON, what came of it. */

const data = process.argv[2] ?? ''
const logger = createLogger({
  level: 'error',
  format: 'json',
  hasColors: false,
  write: (line) => process.stderr.write(line),
})
const config = readConfig({ flags: { data }, env: {}, cwd: data, file: undefined })
const opened = await openDrivers(config, openLauncher(), logger)
const findings = []
for (const driver of opened.drivers) {
  const { works, detail, fix, capabilities } = await driver.probe()
  findings.push({ name: driver.name, works, detail, fix, enforced: capabilities.enforced })
}
process.stdout.write(JSON.stringify(findings))
await opened.close()
process.exit(0)
