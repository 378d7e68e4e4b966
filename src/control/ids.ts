import { randomFillSync } from 'node:crypto'

const randomBytesPerId = 10
const poolBytes = randomBytesPerId * 1024
const hex = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

/** Makes UUIDv7 invocation ids: the first 48 bits are epoch ms, by which receipts are found again. Random bytes are drawn a kilo-id at a time:
 *  a system call for each id would cost more than the rest of it. Source: RFC 9562 section 5.7. */
export function idSource(): (nowMs: number) => string {
  const pool = Buffer.allocUnsafeSlow(poolBytes)
  let at = poolBytes
  let lastMs = -1
  let timeText = ''
  return (nowMs) => {
    if (at === poolBytes) {
      randomFillSync(pool)
      at = 0
    }
    if (nowMs !== lastMs) {
      lastMs = nowMs
      const text = Math.max(0, Math.floor(nowMs)).toString(16).padStart(12, '0')
      timeText = `${text.slice(0, 8)}-${text.slice(8)}-7`
    }
    const byte = (offset: number): number => pool[at + offset] ?? 0
    const h = (offset: number): string => hex[byte(offset)] ?? '00'
    const variant = ((byte(2) & 0x3f) | 0x80).toString(16)
    const id = `${timeText}${h(0)}${h(1).slice(1)}-${variant}${h(3)}-${h(4)}${h(5)}${h(6)}${h(7)}${h(8)}${h(9)}`
    at += randomBytesPerId
    return id
  }
}
