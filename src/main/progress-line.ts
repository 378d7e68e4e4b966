import type { Output } from '../cli/output.ts'
import type { ReportProgress } from '../domain/image.ts'

const barCells = 24
/** A terminal shows no more, and a build reports hundreds a second. */
const redrawMs = 100

/** Draws progress on the terminal's status line; elsewhere nothing is shown. */
export function progressLine(output: Output, title: string): ReportProgress {
  let drawnMs = -Infinity
  return (what, share) => {
    const now = performance.now()
    if (now - drawnMs < redrawMs) return
    drawnMs = now
    if (share === undefined) return output.status(`${title}: ${what} ...`)
    const full = Math.round(Math.min(1, Math.max(0, share)) * barCells)
    const bar = '#'.repeat(full) + '.'.repeat(barCells - full)
    output.status(`${title} [${bar}] ${String(Math.round(share * 100)).padStart(3)} % ${what}`)
  }
}
