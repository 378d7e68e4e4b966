/** What a paste brings along at its ends and nobody sees: white space, and the characters of no width. */
const edges = /^[\s\u00ad\u200b-\u200f\u2060\ufeff]+|[\s\u00ad\u200b-\u200f\u2060\ufeff]+$/g

/** A key or an address as it was meant. */
export function trimPasted(text: string): string {
  return text.replaceAll(edges, '')
}

/** Why `key` cannot be one, without the key itself: the first character that no header takes. Null for one that can. */
export function keyProblem(key: string): string | null {
  if (key === '') return 'it is empty'
  const found = /[^!-~]/u.exec(key)
  if (found === null) return null
  const code = found[0].codePointAt(0) ?? 0
  return `character ${found.index + 1} is U+${code.toString(16).toUpperCase().padStart(4, '0')}, which no key has`
}
