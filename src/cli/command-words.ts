import { CliError } from './cli-error.ts'

/** A JSON list as it is; else words as a shell would cut them, with quotes and backslashes and nothing more. */
export function commandWords(text: string): string[] {
  const list = jsonList(text)
  if (list !== null) return list
  const words: string[] = []
  let word: string | null = null
  let end = 0
  for (const [part, single, double, escaped] of text.matchAll(/'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|\s+|[^\s'"\\]+/gs)) {
    end += part.length
    if (/^\s/.test(part)) {
      if (word !== null) words.push(word)
      word = null
    } else word = `${word ?? ''}${single ?? double?.replaceAll(/\\(.)/gs, '$1') ?? escaped ?? part}`
  }
  if (end < text.length) throw new CliError(`Invalid --command ${text}: a quote or backslash in it has no end.`)
  if (word !== null) words.push(word)
  return words
}

function jsonList(text: string): string[] | null {
  if (!text.trimStart().startsWith('[')) return null
  try {
    const list: unknown = JSON.parse(text)
    if (Array.isArray(list) && list.every((word): word is string => typeof word === 'string')) return list
  } catch {
    // Said below.
  }
  throw new CliError(`Invalid --command ${text}: a list must be JSON texts, e.g. ["node","server.js"].`)
}
