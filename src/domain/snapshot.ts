/** `runtime`: booted and warmed, no user code; `function`: module-level code of one Version is in it (opt-in). */
export type SnapshotKind = 'runtime' | 'function'

/** What a Function asks for: the strongest kind that may be restored for it. */
export const snapshotModes = ['function', 'runtime', 'none'] as const
export type SnapshotMode = (typeof snapshotModes)[number]

/** Everything that must be the same where a snapshot is restored, by name: VMM kind and version, accelerator, processor, kernel, root image, code
 *  image, memory, devices, guest program. */
export type SnapshotKey = Readonly<Record<string, string>>

/** A paused Instance on disk that many Instances can be restored from. */
export interface Snapshot {
  readonly id: string
  readonly driver: string
  readonly kind: SnapshotKind
  readonly key: SnapshotKey
  /** Its files; kept as long as one of its Instances lives. */
  readonly folder: string
  readonly memoryMib: number
  /** On disk. */
  readonly bytes: number
  readonly createdAt: number
}

/** How the parts of a key are called for people; any other by its own name. */
const keyWords: Readonly<Record<string, string>> = {
  vmm: 'VMM',
  cpu: 'processor',
  acpi: 'ACPI',
  guest: 'guest program',
  image: 'root image',
  code: 'code image',
  function: 'function',
}

/** Why a snapshot of key `saved` must not be restored where `current` holds, naming every difference; null when it may. */
export function snapshotRefusal(saved: SnapshotKey, current: SnapshotKey): string | null {
  const differences = [...new Set([...Object.keys(current), ...Object.keys(saved)])].flatMap((name) => {
    const [was, is] = [saved[name], current[name]]
    if (was === is) return []
    return `${keyWords[name] ?? name} is ${shown(is) ?? 'absent'}, the snapshot has ${shown(was) ?? 'none'}`
  })
  return differences.length === 0 ? null : differences.join('; ')
}

/** Digests by their first digits. */
function shown(value: string | undefined): string | undefined {
  return value?.replaceAll(/\b(sha256:)?([0-9a-f]{12})[0-9a-f]{20,52}\b/g, '$2')
}
