import type { Driver, IsolationPolicy } from '../domain/driver.ts'
import { AppError } from '../domain/error.ts'
import type { FunctionConfig } from '../domain/function.ts'
import { limits } from '../domain/limits.ts'
import type { RuntimeBuild } from '../domain/runtime.ts'

/** What an Instance is before it belongs to a Version: of one driver, one runtime and, where memory is fixed at boot, one size. */
export interface Place {
  readonly driver: Driver
  readonly build: RuntimeBuild
  /** Size class; what processes start with before `bind` sets it. */
  readonly memoryMib: number
  readonly key: string
}

/** The place of Instances that will need `memoryMib`. */
export function placeOf(driver: Driver, build: RuntimeBuild, memoryMib: number): Place {
  const classes = driver.capabilities.memoryClassesMib
  if (classes === null)
    return { driver, build, memoryMib: limits.memoryMib.default, key: `${driver.name} ${build.digest}` }
  const size = classes.find((mib) => mib >= memoryMib) ?? classes.at(-1) ?? memoryMib
  return { driver, build, memoryMib: size, key: `${driver.name} ${build.digest} ${size}` }
}

/** Drivers in the operator's order of preference, without those whose probe failed. */
export class DriverChoice {
  readonly #drivers: readonly Driver[]
  readonly #policy: IsolationPolicy
  #working: readonly Driver[]

  constructor(drivers: readonly Driver[], policy: IsolationPolicy) {
    this.#drivers = drivers
    this.#policy = policy
    this.#working = drivers
  }

  get all(): readonly Driver[] {
    return this.#drivers
  }

  setWorking(working: readonly Driver[]): void {
    this.#working = working
  }

  /** For `auto` the first that works, never an emulated machine unless the operator wants that; `vm` is never downgraded, `process` never upgraded.
   *  Throws driver_failed when none of the wanted kind works, or the operator's policy has none of that kind. */
  of(isolation: FunctionConfig['isolation']): Driver {
    const { demand } = this.#policy
    if (demand === 'vm' && isolation === 'process')
      throw new AppError(
        'driver_failed',
        'This platform runs functions in microVMs alone (its setting isolation is "vm"), and this version asks for a process: update it with isolation "auto" or "vm".',
      )
    const wantsVm = demand === 'vm' || isolation === 'vm'
    const found = this.#working.find((driver) => {
      const { isVm } = driver.capabilities
      if (isolation === 'process') return !isVm
      if (isolation === 'auto' && !this.#policy.autoMayEmulate && isEmulated(driver)) return false
      return isVm || !wantsVm
    })
    if (found !== undefined) return found
    const wanted = wantsVm ? 'microVM driver' : isolation === 'process' ? 'process driver' : 'driver'
    throw new AppError('driver_failed', `No ${wanted} works on this node: "hearth doctor" says why.`)
  }
}

function isEmulated({ capabilities: { vmm } }: Driver): boolean {
  return vmm?.accelerator === 'tcg'
}
