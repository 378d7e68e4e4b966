/** What Lambda writes at the end of an invocation; `initMs` only of one that had to start its Instance. */
export function reportLine(
  invocationId: string,
  of: { durationMs: number; memoryMib: number; peakMib: number; initMs: number | undefined },
): string {
  const { durationMs, memoryMib, peakMib, initMs } = of
  const init = initMs === undefined ? '' : `\tInit Duration: ${initMs.toFixed(2)} ms`
  return `REPORT RequestId: ${invocationId}\tDuration: ${Math.round(durationMs * 100) / 100} ms\tBilled Duration: ${Math.ceil(durationMs)} ms\tMemory Size: ${memoryMib} MB\tMax Memory Used: ${peakMib} MB${init}`
}

export function oneLine(text: string): string {
  return text.replaceAll(/[\r\n]+/g, ' ')
}
