import assert from 'node:assert/strict'
import { createHash, createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { canonicalHash, type SignableHead } from './sigv4-canonical.ts'
import { checkClaim, readClaim, type SignatureClaim } from './sigv4-claim.ts'
import type { HeaderList } from './url-headers.ts'

/* AWS's published vectors (awslabs/aws-c-auth, tests/aws-signing-test-suite/v4, those that normalise the path): requests signed with the example credentials,
 * in the header and presigned. */

interface Vector {
  readonly name: string
  readonly request: string
}

const vectorFile = path.resolve(import.meta.dirname, '../../test/wire/sigv4-vectors.json')
const vectors = JSON.parse(readFileSync(vectorFile, 'utf8')) as readonly Vector[]
const secret = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'

test('vectors: there are as many as AWS has', () => assert.equal(vectors.length, 56))

for (const { name, request } of vectors)
  test(`readClaim and canonicalHash: ${name}`, () => {
    const { head, body } = parse(request)
    const claim = readClaim(head)
    assert.ok(claim !== null)
    assert.equal(signatureOf(head, claim, body), claim.signature)
  })

test('canonicalHash: what is signed cannot change', () => {
  const { head, body } = parse(vectors.find(({ name }) => name === 'get-vanilla-query, header')?.request ?? '')
  const claim = readClaim(head)
  assert.ok(claim !== null)
  for (const other of [
    { ...head, method: 'POST' },
    { ...head, target: '/other' },
    { ...head, target: `${head.target}&x=1` },
    { ...head, target: '/%2e' },
    { ...head, headers: head.headers.map(([n, v]): [string, string] => (n === 'Host' ? [n, 'x'] : [n, v])) },
  ])
    assert.notEqual(signatureOf(other, claim, body), claim.signature, JSON.stringify(other))
})

const scope = 'AKIDEXAMPLE/20150830/us-east-1/lambda/aws4_request'
const signature = '0'.repeat(64)
const authorization = `AWS4-HMAC-SHA256 Credential=${scope},SignedHeaders=host;x-amz-date,Signature=${signature}`
const presigned = `/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${scope}&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Signature=${signature}&X-Amz-Expires=`
const signedAtMs = Date.UTC(2015, 7, 30, 12, 36)

function headOf(headers: Readonly<Record<string, string>>, target = '/'): SignableHead {
  return { method: 'GET', target, headers: Object.entries({ Host: 'h', ...headers }) }
}

test('readClaim: a request without a signature has none', () => {
  for (const headers of [{}, { Authorization: 'Bearer hth_x' }, { Authorization: '' }])
    assert.equal(readClaim(headOf(headers)), null)
})

const unreadable: readonly [string, SignableHead, RegExp][] = [
  ['another algorithm', headOf({ Authorization: authorization.replace('HMAC', 'ECDSA') }), /requires the algorithm/],
  [
    'no signature',
    headOf({ Authorization: authorization.replace(/,Signature.*/, ''), Date: '20150830T123600Z' }),
    /requires 'Signature'/,
  ],
  ['no date', headOf({ Authorization: authorization }), /'X-Amz-Date' or a 'Date'/],
  ['a date of another form', headOf({ Authorization: authorization, 'X-Amz-Date': '2015-08-30' }), /YYYYMMDDTHHMMSSZ/],
  [
    'a short scope',
    headOf({ Authorization: authorization.replace('/lambda', ''), Date: '20150830T123600Z' }),
    /Credential must be/,
  ],
  [
    'names out of order',
    headOf({
      Authorization: authorization.replace('host;x-amz-date', 'x-amz-date;host'),
      'X-Amz-Date': '20150830T123600Z',
    }),
    /SignedHeaders must be/,
  ],
  ['signed twice', headOf({ Authorization: authorization }, `${presigned}60`), /not by both/],
  ['no expiry', headOf({}, presigned), /X-Amz-Expires/],
  ['an expiry after a week', headOf({}, `${presigned}604801`), /from 1 to 604800/],
  [
    'chunks that are signed',
    headOf({ 'x-amz-content-sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' }, `${presigned}9`),
    /x-amz-content-sha256 must be UNSIGNED-PAYLOAD/,
  ],
  ['a parameter twice', headOf({}, `${presigned}9&x-amz-date=20150830T123600Z`), /"x-amz-date" must come once/],
]
for (const [title, head, message] of unreadable)
  test(`readClaim refuses ${title}`, () => {
    assert.throws(() => readClaim(head), { type: 'IncompleteSignatureException', message })
  })

test('checkClaim: time, scope, session tokens and headers that must be signed', () => {
  const inHeader = headOf({ Authorization: authorization, 'X-Amz-Date': '20150830T123600Z' })
  const inQuery = headOf({}, `${presigned}3600`)
  const check = (head: SignableHead, nowMs = signedAtMs, region = 'us-east-1'): void => {
    const claim = readClaim(head)
    assert.ok(claim !== null)
    checkClaim(claim, { head, region, nowMs })
  }
  const skewMs = 5 * 60_000
  for (const nowMs of [signedAtMs - skewMs, signedAtMs, signedAtMs + skewMs]) check(inHeader, nowMs)
  for (const nowMs of [signedAtMs - skewMs, signedAtMs + 3_600_000]) check(inQuery, nowMs)
  check(headOf({ Authorization: authorization, Date: 'Sun, 30 Aug 2015 12:36:00 GMT' }))
  const refused: readonly [() => void, RegExp][] = [
    [
      () => check(inHeader, signedAtMs + skewMs + 1_000),
      /^Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z \(20150830T124101Z - 5 min\.\)$/,
    ],
    [() => check(inHeader, signedAtMs - skewMs - 1_000), /^Signature not yet current/],
    [() => check(inQuery, signedAtMs + 3_601_000), /^Signature expired: .* was good for 3600 s/],
    [() => check(inQuery, signedAtMs - skewMs - 1_000), /^Signature not yet current/],
    [() => check(inHeader, signedAtMs, 'eu-west-1'), /valid region: 'eu-west-1'/],
    [
      () => check(headOf({ Authorization: authorization.replace('/lambda', '/s3'), 'X-Amz-Date': '20150830T123600Z' })),
      /correct service: 'lambda'/,
    ],
    [
      () => check(headOf({ Authorization: authorization, 'X-Amz-Date': '20150831T000000Z' })),
      /does not match YYYYMMDD/,
    ],
    [
      () => check(headOf({ Authorization: authorization, 'X-Amz-Date': '20150830T123600Z', 'X-Amz-Other': '1' })),
      /'x-amz-other' must be a 'SignedHeader'/,
    ],
    [
      () => check(headOf({ Authorization: authorization.replace('host;', ''), 'X-Amz-Date': '20150830T123600Z' })),
      /'host' must be/,
    ],
    [
      () =>
        check(headOf({ Authorization: authorization, 'X-Amz-Date': '20150830T123600Z', 'X-Amz-Security-Token': 't' })),
      /security token/,
    ],
    [() => check(headOf({}, `${presigned}3600&X-Amz-Security-Token=t`)), /security token/],
    [() => check({ ...inQuery, target: `/fn/a/..${inQuery.target}` }), /no '\.' or '\.\.'/],
    [() => check({ ...inQuery, target: `/fn/./a${inQuery.target}` }), /no '\.' or '\.\.'/],
  ]
  for (const [attempt, message] of refused) assert.throws(attempt, { message })
})

/** A raw request of the vectors; bytes are characters, as a server reads them. */
function parse(text: string): { head: SignableHead; body: string } {
  const bytes = Buffer.from(text).toString('latin1')
  const split = bytes.indexOf('\n\n')
  const [first = '', ...lines] = (split < 0 ? bytes : bytes.slice(0, split)).replaceAll(/\n +/g, ' ').split('\n')
  const [, method = '', target = ''] = /^(\S+) (.*) HTTP\/1\.1$/.exec(first) ?? []
  const headers: HeaderList = lines.filter(Boolean).map((line) => {
    const at = line.indexOf(':')
    return [line.slice(0, at), line.slice(at + 1)]
  })
  return { head: { method, target, headers }, body: split < 0 ? '' : bytes.slice(split + 2) }
}

function signatureOf(head: SignableHead, claim: SignatureClaim, body: string): string {
  const payloadHash = claim.payloadHash ?? createHash('sha256').update(body, 'latin1').digest('hex')
  const { date, region, service, timestamp, signedHeaders } = claim
  const hash = canonicalHash(head, { signedHeaders, payloadHash })
  const text = `AWS4-HMAC-SHA256\n${timestamp}\n${date}/${region}/${service}/aws4_request\n${hash}`
  let key: Buffer = Buffer.from(`AWS4${secret}`)
  for (const part of [date, region, service, 'aws4_request', text])
    key = createHmac('sha256', key).update(part).digest()
  return key.toString('hex')
}
