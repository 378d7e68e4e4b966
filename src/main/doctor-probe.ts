import { openDriver } from './drivers.ts'
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
const opened = await openDriver(config, openLauncher(), logger)
const { works, detail, fix, capabilities } = await opened.driver.probe()
process.stdout.write(JSON.stringify({ name: opened.driver.name, works, detail, fix, enforced: capabilities.enforced }))
await opened.close()
process.exit(0)
