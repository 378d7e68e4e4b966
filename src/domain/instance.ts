/*
 *            boot/restore            bind code             invoke
 *  (none) ---------------> booted ---------------> ready <--------> busy
 *                             |                     |  \               |
 *                             |            freeze   v   \ error/limit  v
 *                             +---------------->  frozen  `-------->  dead   (always reaped, always recorded)
 */
export const instanceStates = ['booting', 'booted', 'binding', 'ready', 'busy', 'frozen', 'dead'] as const
export type InstanceState = (typeof instanceStates)[number]

/** One sandbox holding one runtime; bound to one Version for life, never handed to another. */
export interface InstanceInfo {
  readonly id: string
  readonly node: string
  readonly driver: string
  readonly runtime: string
  readonly state: InstanceState
  /** `project/function:number`, null while unbound. */
  readonly version: string | null
  readonly createdAt: number
  readonly lastUsedAt: number
  readonly invocations: number
  readonly memoryMib: number
}
