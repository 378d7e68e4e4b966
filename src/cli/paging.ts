interface Page<T> {
  readonly items: readonly T[]
  readonly nextCursor: string | null
}

const pageSize = 200

/** Every item of a paged listing, or the first `limit`. */
export async function listAll<T>(
  fetchPage: (page: { limit: number; cursor?: string }) => Promise<Page<T>>,
  limit = Number.POSITIVE_INFINITY,
): Promise<readonly T[]> {
  const items: T[] = []
  let cursor: string | undefined
  do {
    const page = await fetchPage({
      limit: Math.min(pageSize, limit - items.length),
      ...(cursor !== undefined && { cursor }),
    })
    items.push(...page.items)
    cursor = page.nextCursor ?? undefined
  } while (cursor !== undefined && items.length < limit)
  return items
}
