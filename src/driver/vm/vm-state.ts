import { AppError } from '../../domain/error.ts'
import type { RuntimeImage } from '../../domain/image.ts'
import type { Snapshot } from '../../domain/snapshot.ts'
import type { MadeWith } from './vm-sandbox.ts'
import type { Accelerator } from './vmm.ts'

/** What a machine's handle says, parsed; what its VMM adds is for the VMM to check. */
export interface VmState extends Readonly<Record<string, unknown>>, MadeWith {
  readonly instance: string
  readonly memoryMib: number
  readonly hasCode: boolean
}

/** Throws driver_failed, naming the field that is wrong, or the VMM that is another than `here`. */
export function parseVmState(state: Readonly<Record<string, unknown>>, here: string): VmState {
  const { instance, memoryMib, vmm, accelerator, image, hasCode } = state
  if (typeof instance !== 'string') throw wrong('instance', 'a text')
  if (typeof memoryMib !== 'number' || !Number.isInteger(memoryMib) || memoryMib <= 0)
    throw wrong('memoryMib', 'a whole number above 0')
  if (typeof vmm !== 'string') throw wrong('vmm', 'a text')
  if (vmm !== here) throw new AppError('driver_failed', `It was made by ${vmm.slice(0, 100)}, here is ${here}.`)
  if (accelerator !== 'kvm' && accelerator !== 'tcg') throw wrong('accelerator', 'kvm or tcg')
  if (typeof image !== 'string') throw wrong('image', 'a text')
  if (typeof hasCode !== 'boolean') throw wrong('hasCode', 'true or false')
  return { ...state, instance, memoryMib, vmm, accelerator, image, hasCode }
}

/** Throws driver_failed when its guest is not what `image` holds: another init, or another runtime. */
export function checkImage({ image: made }: VmState, image: RuntimeImage): void {
  if (image.digest === made) return
  const { id } = image.runtime
  throw new AppError('driver_failed', `Its root image is ${made.slice(0, 80)}, that of ${id} is ${image.digest}.`)
}

/** A clone's memory knows the very files of the image that it was saved with, which may have been pruned and built anew since. Throws driver_failed. */
export function checkSnapshotImage({ id, key }: Pick<Snapshot, 'id' | 'key'>, image: RuntimeImage): void {
  const made = key['image'] ?? 'none'
  if (image.digest === made) return
  throw new AppError(
    'driver_failed',
    `Snapshot ${id} has root image ${made}, that of ${image.runtime.id} is ${image.digest}.`,
  )
}

/** An emulated machine must not serve where the operator wants none, nor pass for one that is not. Throws driver_failed with the reason.
 *  `here`: what machines are made on now, null while that is not known. */
export function checkAccelerator(
  { accelerator }: Pick<MadeWith, 'accelerator'>,
  { refused, here }: { refused: Readonly<Partial<Record<Accelerator, string>>>; here: Accelerator | null },
): void {
  const why = refused[accelerator]
  if (why !== undefined) throw new AppError('driver_failed', `It runs on ${accelerator}: ${why}.`)
  if (here === null || here === accelerator) return
  throw new AppError('driver_failed', `It runs on ${accelerator}, machines are made on ${here} here.`)
}

function wrong(field: string, rule: string): AppError {
  return new AppError('driver_failed', `Its handle is damaged: "${field}" must be ${rule}.`)
}
