import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Validator } from '@seriousme/openapi-schema-validator'
import { printedPages, storedPage } from './printed-pages.ts'

for (const { file, text } of await printedPages())
  test(`${file} says what the code says ("npm run docs" prints it)`, () => {
    assert.ok(storedPage(file) === text, `${file} is out of date: run "npm run docs".`)
  })

test('docs/reference/openapi.json is valid OpenAPI 3.1', async () => {
  const { valid, errors } = await new Validator().validate(JSON.parse(storedPage('docs/reference/openapi.json')))
  assert.ok(valid, JSON.stringify(errors))
})
