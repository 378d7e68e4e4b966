import { ClosedAddress, isPublicAddress, publicLookup, refuseClosedLiteral } from './public-address.ts'
import assert from 'node:assert/strict'
import { test } from 'node:test'

test('isPublicAddress: the internet, and nothing of this host, its network or its cloud', () => {
  for (const address of ['8.8.8.8', '1.1.1.1', '2606:4700::1111', '2a00:1450:4001::1'])
    assert.equal(isPublicAddress(address), true, address)
  const closed = ['127.0.0.1', '10.1.2.3', '172.16.0.1', '192.168.1.1', '169.254.169.254', '100.64.0.1', '0.0.0.0']
  closed.push('::1', '::', 'fe80::1', 'fd00::1', '::ffff:127.0.0.1', '::ffff:8.8.8.8', '64:ff9b::7f00:1', 'ff02::1')
  closed.push('2002:7f00:1::', '2001:0:1::', '2001:db8::1', 'not an address', '')
  for (const address of closed) assert.equal(isPublicAddress(address), false, address)
})

test('refuseClosedLiteral: hosts spelled as addresses, brackets and all; names pass', () => {
  for (const host of ['127.0.0.1', '[::1]', '[::ffff:7f00:1]'])
    assert.throws(() => refuseClosedLiteral(host), ClosedAddress)
  for (const host of ['8.8.8.8', 'localhost', 'example.com']) refuseClosedLiteral(host)
})

test('publicLookup: a name that leads to this host is closed', async () => {
  for (const all of [true, false])
    await assert.rejects(
      new Promise((resolve, reject) =>
        publicLookup('localhost', { all }, (error, address) => (error === null ? resolve(address) : reject(error))),
      ),
      ClosedAddress,
    )
})
