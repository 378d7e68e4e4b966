import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AppError } from './error.ts'
import { imageText, parseImageReference } from './image-reference.ts'

const digest = `sha256:${'a'.repeat(64)}`
const whole = (text: string): string => imageText(parseImageReference(text, 'code.image'))

test('parseImageReference: what docker means when something is left out', () => {
  assert.equal(whole('alpine'), 'docker.io/library/alpine:latest')
  assert.equal(whole('alpine:3.20'), 'docker.io/library/alpine:3.20')
  assert.equal(whole('team/app'), 'docker.io/team/app:latest')
  assert.equal(whole('index.docker.io/alpine'), 'docker.io/library/alpine:latest')
  assert.equal(whole(`alpine@${digest}`), `docker.io/library/alpine@${digest}`)
  assert.equal(whole(`alpine:3@${digest}`), `docker.io/library/alpine:3@${digest}`)
})

test('parseImageReference: what comes before the first slash is a registry when it looks like a host', () => {
  assert.equal(whole('localhost/app'), 'localhost/app:latest')
  assert.equal(whole('localhost:5000/a/b__c/d-e.f:V1_x'), 'localhost:5000/a/b__c/d-e.f:V1_x')
  assert.equal(whole('Registry.Example.com/app'), 'registry.example.com/app:latest')
  assert.equal(whole('[::1]:5000/app'), '[::1]:5000/app:latest')
  assert.equal(whole('app/localhost'), 'docker.io/app/localhost:latest')
})

test('parseImageReference: anything else is refused by name', () => {
  const bad = ['', ':', '/', 'Alpine', 'a//b', 'a/', '/a', 'a:', 'a:b:c', `a:${'t'.repeat(129)}`, 'a@sha256:short']
  bad.push(
    `a@sha512:${'a'.repeat(128)}`,
    'https://a.b/c',
    'a.b/../c',
    'a b',
    'a.b:port/c',
    'u:p@a.b/c',
    '-.a/b',
    'a_/b',
  )
  bad.push(
    'x'.repeat(256),
    'a'.repeat(600),
    'a.b/c?d',
    'a.b/c#d',
    'a\nb',
    `${'a-'.repeat(200)}/`,
    'a.b:123456/c',
    'a.b:65536/c',
    '[::g]/a',
  )
  for (const text of bad)
    assert.throws(
      () => parseImageReference(text, 'code.image'),
      (error: unknown) => error instanceof AppError && error.code === 'invalid' && error.field === 'code.image',
      text,
    )
})
