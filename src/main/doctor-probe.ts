import { runtimeCatalog } from '../image/runtimes.ts'
import { openDrivers } from './drivers.ts'
import { serviceFolder } from './images.ts'
import { openLauncher } from './launcher.ts'
import { createLogger } from './logger.ts'
import { ProbeVerdicts } from './probe-verdicts.ts'
import type { ServeOptions } from './serve-options.ts'

/* What `hearth doctor` runs under a launcher of its own: tries every driver and prints, as JSON, what came of it. */

const { config, user, runtimes: builds, vmms } = JSON.parse(process.argv[2] ?? '{}') as ServeOptions
const write = (line: string): void => void process.stderr.write(line)
const logger = createLogger({ level: 'error', format: 'json', hasColors: false, write })
const runtimes = runtimeCatalog(builds)
// Everything is tried anew, and platforms know the outcome.
const verdicts = new ProbeVerdicts(serviceFolder(config.cache, 'verdicts'), logger)
verdicts.clear()
const opened = await openDrivers(config, openLauncher(), {
  logger,
  vmms,
  hasServiceUser: user !== null,
  probeBuild: () => runtimes.list()[0] ?? null,
  verdicts,
})
const findings = []
for (const driver of opened.drivers) {
  const { works, detail, fix, capabilities } = await driver.probe()
  const { enforced, isVm, vmm } = capabilities
  findings.push({ name: driver.name, works, detail, fix, isVm, accelerator: vmm?.accelerator ?? null, enforced })
}
process.stdout.write(JSON.stringify(findings))
await opened.close()
process.exit(0)
