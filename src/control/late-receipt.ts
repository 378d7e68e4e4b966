import type { UsagePeaks } from '../domain/agent.ts'
import type { Receipt } from '../domain/invocation.ts'

/** The receipt of an Invocation that is answered, until its agent has told what it used. */
export class LateReceipt {
  readonly #receipt: Receipt
  readonly #sealed = Promise.withResolvers<Receipt>()

  constructor(receipt: Receipt) {
    this.#receipt = receipt
  }

  get sealed(): Promise<Receipt> {
    return this.#sealed.promise
  }

  seal({ memoryPeakMib, ephemeralBytesPeak }: UsagePeaks): Receipt {
    const receipt = { ...this.#receipt, memoryPeakMib, ephemeralBytesPeak }
    this.#sealed.resolve(receipt)
    return receipt
  }
}
