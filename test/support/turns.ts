/** How often the event loop turned until `work` was over: few times when that held it up, however slow the machine is. Rejects as `work` does. */
export async function turnsUntil(work: Promise<unknown>): Promise<number> {
  let turns = 0
  let isOver = false
  const turn = (): void => {
    turns += 1
    if (!isOver) setImmediate(turn)
  }
  setImmediate(turn)
  try {
    await work
  } finally {
    isOver = true
  }
  return turns
}
