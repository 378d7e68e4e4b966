import { AppError } from '../../domain/error.ts'
import type { MadeWith } from './vm-sandbox.ts'

/** What a machine's handle says, parsed; what its VMM adds is for the VMM to check. */
export interface VmState extends Readonly<Record<string, unknown>>, MadeWith {
  readonly instance: string
  readonly memoryMib: number
  readonly hasCode: boolean
}

/** Throws driver_failed, naming the field that is wrong. */
export function parseVmState(state: Readonly<Record<string, unknown>>): VmState {
  const { instance, memoryMib, vmm, image, hasCode } = state
  if (typeof instance !== 'string') throw wrong('instance', 'a text')
  if (typeof memoryMib !== 'number' || !Number.isInteger(memoryMib) || memoryMib <= 0)
    throw wrong('memoryMib', 'a whole number above 0')
  if (typeof vmm !== 'string') throw wrong('vmm', 'a text')
  if (typeof image !== 'string') throw wrong('image', 'a text')
  if (typeof hasCode !== 'boolean') throw wrong('hasCode', 'true or false')
  return { ...state, instance, memoryMib, vmm, image, hasCode }
}

function wrong(field: string, rule: string): AppError {
  return new AppError('driver_failed', `Its handle is damaged: "${field}" must be ${rule}.`)
}
