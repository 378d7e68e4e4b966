/** Ctrl-C reaches the whole process group and is forwarded by the launcher besides: what follows this soon is the same wish. */
const sameWishMs = 500

/** Calls `drain` at the first SIGTERM or SIGINT, then exits with 0; at the second exits at once. `drain` must not reject. */
export function onShutdown(drain: (signal: NodeJS.Signals) => Promise<void>): void {
  let firstAt: number | null = null
  const handle = (signal: NodeJS.Signals): void => {
    if (firstAt !== null) {
      if (performance.now() - firstAt > sameWishMs) process.exit(130)
      return
    }
    firstAt = performance.now()
    void drain(signal).then(() => process.exit(0))
  }
  process.on('SIGTERM', handle)
  process.on('SIGINT', handle)
}
