import assert from 'node:assert/strict'
import { test } from 'node:test'
import { userName } from './user-name.ts'

const passwd = 'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/sh\nodd name:x:7:7\nadmin:x:00:0\n'

for (const [user, name] of [
  ['', 'function'],
  ['root', 'function'],
  ['0:0', 'function'],
  ['app', 'app'],
  ['app:web', 'app'],
  ['33', 'www-data'],
  ['33:44', 'www-data'],
  ['44', 'function'],
  ['7', 'function'],
  ['a b', 'function'],
  ['x\ny:0:0', 'function'],
  ['n'.repeat(65), 'function'],
])
  test(`USER ${JSON.stringify(user)} is called ${name}`, () => {
    assert.equal(userName(user ?? '', passwd), name)
  })
