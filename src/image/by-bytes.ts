/** Characters that stand before others as UTF-16 and behind them as UTF-8. */
const swapped = /[\ud800-\uffff]/

/** Compares two strings as their UTF-8 bytes, as file systems and `sort` in the C locale do. */
export function byBytes(a: string, b: string): number {
  if (swapped.test(a) || swapped.test(b)) return Buffer.compare(Buffer.from(a), Buffer.from(b))
  if (a === b) return 0
  return a < b ? -1 : 1
}
