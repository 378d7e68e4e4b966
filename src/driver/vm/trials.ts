import type { VmmFacts } from '../../domain/driver.ts'
import type { Accelerator, Vmm } from './vmm.ts'

/** What came of booting a guest. */
export type Tried = { readonly bootMs: number } | { readonly failure: string }

export interface TrialsOptions {
  readonly vmm: Vmm
  /** Accelerators that are not to be tried, and why. */
  readonly refused: Readonly<Partial<Record<Accelerator, string>>>
  /** How long a guest may take to boot, where that is not the usual. */
  readonly bootMsMax: Readonly<Partial<Record<Accelerator, number>>>
  /** Boots a guest and ends it, within the time. */
  readonly boot: (limitMs: number) => Promise<Tried>
}

/** A guest is up in 0.3 s on KVM and in 1 to 2 s emulated, on a machine that does nothing else. */
const usualBootMsMax: Readonly<Record<Accelerator, number>> = { kvm: 5_000, tcg: 60_000 }

/** Which accelerator boots a guest: each is tried once. */
export class Trials {
  readonly #options: TrialsOptions
  readonly #tried = new Map<Accelerator, Tried>()
  #facts: VmmFacts | null = null

  constructor(options: TrialsOptions) {
    this.#options = options
    for (const accelerator of options.vmm.accelerators) {
      const failure = options.refused[accelerator]
      if (failure !== undefined) this.#tried.set(accelerator, { failure })
    }
  }

  /** The VMM on what worked; null until something did. */
  get facts(): VmmFacts | null {
    return this.#facts
  }

  /** The first accelerator on which a guest boots. */
  async all(): Promise<{ works: boolean; detail: string }> {
    const { vmm } = this.#options
    const failures: string[] = []
    for (const accelerator of vmm.accelerators) {
      const tried = await this.one(accelerator)
      if ('failure' in tried) {
        failures.push(`${accelerator}: ${tried.failure}`)
        continue
      }
      const lost = failures.length === 0 ? '' : ` Not on ${failures.join('; ')}`
      const detail = `A guest booted in ${tried.bootMs} ms on ${vmm.name} ${vmm.version} (${accelerator}).${lost}`
      return { works: true, detail }
    }
    return { works: false, detail: `No guest booted on ${vmm.name} ${vmm.version}: ${failures.join('; ')}` }
  }

  async one(accelerator: Accelerator): Promise<Tried> {
    const known = this.#tried.get(accelerator)
    if (known !== undefined) return known
    const { vmm, boot, bootMsMax } = this.#options
    vmm.use(accelerator)
    const tried = await boot(bootMsMax[accelerator] ?? usualBootMsMax[accelerator])
    this.#tried.set(accelerator, tried)
    if ('bootMs' in tried) this.#facts = { name: vmm.name, version: vmm.version, accelerator }
    return tried
  }
}
