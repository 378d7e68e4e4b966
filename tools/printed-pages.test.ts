import assert from 'node:assert/strict'
import { test } from 'node:test'
import { printedPages, storedPage } from './printed-pages.ts'

for (const { file, text } of await printedPages())
  test(`${file} says what the code says ("npm run docs" prints it)`, () => {
    assert.ok(storedPage(file) === text, `${file} is out of date: run "npm run docs".`)
  })
