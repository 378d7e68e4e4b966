import { newKeyId, openVault, Vault } from './vault.ts'
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'

const vault = new Vault(Buffer.alloc(32, 7))
const other = new Vault(Buffer.alloc(32, 8))

test('openVault creates a private key file once and uses it again', (t) => {
  const file = freshFile(t)
  const first = openVault({ file })
  assert.equal(statSync(file).mode & 0o777, 0o600)
  assert.equal(readFileSync(file).length, 32)
  assert.deepEqual(readdirSync(join(file, '..')), ['master.key'])
  const second = openVault({ file })
  assert.equal(second.tokenFor('abcdefghij12'), first.tokenFor('abcdefghij12'))
  assert.equal(second.open('p', 'n', first.seal('p', 'n', 'value')), 'value')
})

test('openVault refuses a key of the wrong size and leaves it as it is', (t) => {
  const file = freshFile(t)
  writeFileSync(file, 'short', { mode: 0o600 })
  assert.throws(() => openVault({ file }), {
    code: 'invalid',
    message: /holds 5 bytes instead of 32\. Restore it from a backup/,
  })
  assert.equal(readFileSync(file, 'utf8'), 'short')
})

test('openVault refuses a key that others can read', (t) => {
  const file = freshFile(t)
  openVault({ file })
  for (const mode of [0o640, 0o604, 0o660]) {
    chmodSync(file, mode)
    assert.throws(() => openVault({ file }), {
      code: 'invalid',
      message: /can be read by others \(mode 06\d\d\)\. Run: chmod 600/,
    })
  }
  chmodSync(file, 0o400)
  openVault({ file })
})

test('openVault names the file when it cannot be made', (t) => {
  const file = freshFile(t)
  writeFileSync(file, 'x')
  const refusal = { code: 'internal', message: /Cannot use master key ".*\/master\.key\/inner": ENOTDIR/ }
  assert.throws(() => openVault({ file: join(file, 'inner') }), refusal)
})

test('seal and open give the value back, and no two ciphertexts are alike', () => {
  for (const value of ['', 'hunter2', '\u65e5\u672c \u{1f511}', 'x'.repeat(100_000)]) {
    const sealed = vault.seal('p', 'n', value)
    assert.equal(vault.open('p', 'n', sealed), value)
    assert.notDeepEqual(vault.seal('p', 'n', value), sealed)
  }
})

test('open refuses another project, another name, another master key and any changed byte', () => {
  const sealed = vault.seal('p', 'n', 'value')
  const refusal = {
    code: 'internal',
    message: /Cannot read secret ".*": it is damaged, or was sealed with another master key/,
  }
  assert.throws(() => vault.open('q', 'n', sealed), refusal)
  assert.throws(() => vault.open('p', 'm', sealed), refusal)
  assert.throws(() => other.open('p', 'n', sealed), refusal)
  assert.throws(() => vault.open('p', 'b/c', vault.seal('p/b', 'c', 'value')), refusal)
  for (let at = 1; at < sealed.length; at++) {
    const changed = Uint8Array.from(sealed)
    changed[at] = (changed[at] ?? 0) ^ 1
    assert.throws(() => vault.open('p', 'n', changed), refusal)
  }
})

test('open refuses an unknown format and a cut value', () => {
  const sealed = Uint8Array.from(vault.seal('p', 'n', 'value'))
  assert.throws(() => vault.open('p', 'n', sealed.subarray(0, 20)), { code: 'internal', message: /it is cut short/ })
  sealed[0] = 9
  assert.throws(() => vault.open('p', 'n', sealed), { code: 'internal', message: /its format 9 is not known/ })
})

test('tokenFor is derived and verifyToken gives its key id back', () => {
  const id = newKeyId()
  const token = vault.tokenFor(id)
  assert.match(token, /^hth_[a-z0-9]{12}_[A-Za-z0-9_-]{43}$/)
  assert.equal(vault.tokenFor(id), token)
  assert.equal(vault.verifyToken(token), id)
  assert.equal(other.verifyToken(token), null)
})

test('verifyToken refuses everything but the exact token', () => {
  const token = vault.tokenFor('abcdefghij12')
  const flipped = token.slice(0, -1) + (token.endsWith('A') ? 'B' : 'A')
  const swapped = token.replace('abcdefghij12', 'abcdefghij13')
  const wrong = ['', 'hth_', token.slice(0, -1), `${token}A`, `${token}=`, ` ${token}`, `${token}\n`, flipped, swapped]
  for (const text of [...wrong, token.toUpperCase(), token.replace('hth_', 'hth-')]) {
    assert.equal(vault.verifyToken(text), null, JSON.stringify(text))
  }
})

const proof = {
  accessKeyId: 'HEARTHAKABCDEFGHIJ12',
  ...{ date: '20150830', region: 'us-east-1', service: 'lambda', stringToSign: 'text' },
}

test('verifySignature gives the key id of the access key that signed, and takes no other', () => {
  const { accessKeyId, secretAccessKey } = vault.accessKeyFor('abcdefghij12')
  assert.equal(accessKeyId, proof.accessKeyId)
  assert.match(secretAccessKey, /^[\w-]{40}$/)
  assert.ok(!vault.tokenFor('abcdefghij12').includes(secretAccessKey))
  const signature = signatureBy(secretAccessKey)
  assert.equal(vault.verifySignature({ ...proof, signature }), 'abcdefghij12')
  assert.equal(vault.verifySignature({ ...proof, signature: signature.toUpperCase() }), 'abcdefghij12')
  for (const wrong of [
    { date: '20150831' },
    { region: 'eu-west-1' },
    { service: 's3' },
    { stringToSign: 'other' },
    { accessKeyId: 'HEARTHAKABCDEFGHIJ13' },
    { accessKeyId: 'hearthakabcdefghij12' },
    { accessKeyId: 'AKIDEXAMPLE' },
    { signature: '' },
    { signature: signature.slice(2) },
    { signature: signatureBy(other.accessKeyFor('abcdefghij12').secretAccessKey) },
  ])
    assert.equal(vault.verifySignature({ ...proof, signature, ...wrong }), null, JSON.stringify(wrong))
})

/** By the definition: a key for the day, the region and the service, from the secret. */
function signatureBy(secret: string): string {
  const steps = ['20150830', 'us-east-1', 'lambda', 'aws4_request', 'text']
  const key = steps.reduce<Buffer>(
    (k, step) => createHmac('sha256', k).update(step).digest(),
    Buffer.from(`AWS4${secret}`),
  )
  return key.toString('hex')
}

test('newKeyId gives 12 characters, new each time', () => {
  const ids = new Set(Array.from({ length: 1_000 }, newKeyId))
  assert.equal(ids.size, 1_000)
  for (const id of ids) assert.match(id, /^[a-z0-9]{12}$/)
})

function freshFile(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'hearth-vault-'))
  t.after(() => rmSync(folder, { recursive: true }))
  return join(folder, 'master.key')
}
