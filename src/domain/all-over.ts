/** As `Promise.all`, but over only when each of them is: when it rejects, none still uses what is undone next. */
export async function allOver<T extends readonly Promise<unknown>[]>(
  work: readonly [...T],
): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  await Promise.allSettled(work)
  return Promise.all(work)
}
