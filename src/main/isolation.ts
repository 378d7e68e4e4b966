import type { AgentStatus } from '../domain/agent.ts'
import type { IsolationPolicy } from '../domain/driver.ts'
import { AppError } from '../domain/error.ts'
import type { Config } from './config.ts'

/* What the operator's settings mean for isolation: which machines count, and when the platform must not start. */

/** What came of trying a driver. */
type DriverOutcome = Pick<AgentStatus['drivers'][number], 'name' | 'isVm' | 'works' | 'detail'>

type Settings = Pick<Config, 'driver' | 'isolation' | 'multiTenant' | 'emulation'>

export function isolationPolicy({ driver, isolation }: Settings): IsolationPolicy {
  return { demand: isolation, autoMayEmulate: driver === 'qemu' || isolation === 'vm' }
}

/** Why emulated machines do not count here; null when they do. */
export function emulationRefusal({ emulation, isolation, multiTenant }: Settings): string | null {
  if (emulation === 'allow') return null
  const force = 'an emulated machine is no security boundary; "emulation: allow" takes it all the same'
  if (emulation === 'refuse') return 'refused by the setting "emulation: refuse"'
  if (multiTenant) return `refused by "multiTenant": ${force}`
  return isolation === 'vm' ? `refused by "isolation: vm": ${force}` : null
}

/** A fallback never isolates less than what was asked for. Throws driver_failed, saying what came of each driver. */
export function refuseLess(
  { driver, isolation }: Settings,
  { drivers, lost }: { drivers: readonly DriverOutcome[]; lost: readonly string[] },
): void {
  const asked = drivers.find(({ name }) => name === driver)
  if (asked?.works === false)
    throw new AppError('driver_failed', `Cannot start with driver "${driver}": ${asked.detail}`)
  if (isolation !== 'vm' || drivers.some(({ isVm, works }) => isVm && works)) return
  const tried = drivers.filter(({ isVm }) => isVm).map(({ name, detail }) => `${name}: ${detail}`)
  const untried = lost.filter((text) => !drivers.some(({ name }) => text.startsWith(`${name}: `)))
  const why = [...tried, ...untried].map((text) => text.replace(/[^.]$/, '$&.')).join(' ')
  throw new AppError(
    'driver_failed',
    `Cannot start: the setting isolation demands microVMs, and no driver makes them here. ${why} "hearth doctor" says what helps.`,
  )
}
