import type { UsagePeaks } from '../domain/agent.ts'
import type { Receipt } from '../domain/invocation.ts'

/** The receipt of an Invocation that is answered, until its agent has told what it used. */
export class LateReceipt {
  readonly sealed: Promise<Receipt>
  readonly #receipt: Receipt
  #resolve: (receipt: Receipt) => void = () => {}

  constructor(receipt: Receipt) {
    this.#receipt = receipt
    this.sealed = new Promise((resolve) => (this.#resolve = resolve))
  }

  seal({ memoryPeakMib, ephemeralBytesPeak }: UsagePeaks): Receipt {
    const receipt = { ...this.#receipt, memoryPeakMib, ephemeralBytesPeak }
    this.#resolve(receipt)
    return receipt
  }
}
