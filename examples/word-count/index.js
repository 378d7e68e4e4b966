'use strict'
const { setTimeout: delay } = require('node:timers/promises')

/** Counts the words of `text`, line by line, and logs as it goes: watch it with `logs --follow`. */
exports.handler = async ({ text = '', pauseMs = 0 }) => {
  const counts = new Map()
  for (const [at, line] of text.split('\n').entries()) {
    const words = line.toLowerCase().match(/[\p{L}\p{N}'-]+/gu) ?? []
    for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1)
    console.log(`line ${at + 1}: ${words.length} words`)
    if (pauseMs > 0) await delay(pauseMs)
  }
  const words = [...counts].sort(([a, n], [b, m]) => m - n || a.localeCompare(b))
  return {
    words: words.reduce((sum, [, count]) => sum + count, 0),
    different: words.length,
    top: Object.fromEntries(words.slice(0, 10)),
  }
}
