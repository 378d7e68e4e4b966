import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseIgnore } from './ignore.ts'

test('parseIgnore: names match at any depth, tied patterns at the top alone', () => {
  const ignores = parseIgnore('*.pyc\n/build\ndocs/*.md\n')
  assert.equal(ignores('a/b/c.pyc', false), true)
  assert.equal(ignores('.hidden.pyc', false), true)
  assert.equal(ignores('build', true), true)
  assert.equal(ignores('src/build', true), false)
  assert.equal(ignores('docs/x.md', false), true)
  assert.equal(ignores('docs/deep/x.md', false), false)
})

test('parseIgnore: a trailing slash means folders, ** crosses them, ! takes back, # is a comment', () => {
  const ignores = parseIgnore('# a comment\ncache/\n**/fixtures/**\n*.log\n!keep.log\n[ab].txt\n')
  assert.equal(ignores('cache', true), true)
  assert.equal(ignores('cache', false), false)
  assert.equal(ignores('x/fixtures/a/b', false), true)
  assert.equal(ignores('x.log', false), true)
  assert.equal(ignores('keep.log', false), false)
  assert.equal(ignores('a.txt', false), true)
  assert.equal(ignores('c.txt', false), false)
})

test('parseIgnore: .git is left out and node_modules kept, whatever the file says', () => {
  const ignores = parseIgnore('!.git/\n')
  assert.equal(ignores('.git', true), true)
  assert.equal(ignores('vendor/.git', true), true)
  assert.equal(ignores('node_modules', true), false)
})

test('parseIgnore: a line that is no pattern is named with its number', () => {
  for (const pattern of ['[z-a]', '[\\]'])
    assert.throws(
      () => parseIgnore(`*.log\n\n${pattern}\n`),
      (error: unknown) => {
        assert.ok(error instanceof Error)
        assert.ok(error.message.startsWith(`Invalid pattern "${pattern}" in line 3 of .hearthignore:`), error.message)
        return true
      },
    )
})
