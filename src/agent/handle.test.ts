import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { silentLogger } from '../domain/logger.ts'
import { AppError } from '../domain/error.ts'
import { parseHandle } from './handle.ts'
import { Handles, type InstanceHandle } from './handles.ts'

const digest = `sha256:${'a'.repeat(64)}` as const
const good: InstanceHandle = {
  format: 1,
  instance: 'i-1',
  createdAt: 1,
  version: {
    project: 'default',
    functionName: 'f',
    number: 2,
    createdAt: 3,
    codeDigest: digest,
    runtimeDigest: digest,
  },
  secretsStamp: '',
  record: { driver: 'qemu', vmm: 'qemu 7.2.22 (tcg)', snapshot: null },
  sandbox: { driver: 'qemu', version: 1, state: { instance: 'i-1', hasCode: true } },
}

/** `good` as a plain object, with `change` applied. */
function changed(change: (handle: Record<string, Record<string, unknown>>) => unknown): string {
  const copy: Record<string, Record<string, unknown>> = JSON.parse(JSON.stringify(good))
  change(copy)
  return JSON.stringify(copy)
}

test('parseHandle gives back what was written', () => {
  assert.deepEqual(parseHandle(JSON.stringify(good), 'i-1'), good)
})

const refused: [string, string, RegExp][] = [
  ['nothing', '', /^its handle is not JSON$/],
  ['half of one', JSON.stringify(good).slice(0, 100), /^its handle is not JSON$/],
  ['a list', '[]', /^its handle is not an object$/],
  ['null', 'null', /^its handle is not an object$/],
  ['another format', changed((each) => Object.assign(each, { format: 2 })), /"format" must be 1$/],
  ['another instance', changed((each) => Object.assign(each, { instance: 'i-2' })), /"instance" must be "i-1"/],
  ['no version', changed((each) => delete each['version']), /"version" must be an object$/],
  [
    'a version number that is none',
    changed((each) => Object.assign(each['version'] ?? {}, { number: 1.5 })),
    /"version.number" must be a whole/,
  ],
  [
    'a path for a digest',
    changed((each) => Object.assign(each['version'] ?? {}, { codeDigest: 'sha256:../../x' })),
    /"version.codeDigest" must be a digest/,
  ],
  [
    'a boundless name',
    changed((each) => Object.assign(each['version'] ?? {}, { functionName: 'x'.repeat(2_000) })),
    /"version.functionName" must be a text of at most/,
  ],
  [
    'a driver that is no text',
    changed((each) => Object.assign(each['record'] ?? {}, { driver: {} })),
    /"record.driver" must be a text/,
  ],
  [
    'another version of the sandbox',
    changed((each) => Object.assign(each['sandbox'] ?? {}, { version: 2 })),
    /"sandbox.version" must be 1$/,
  ],
  [
    'the machine of another instance',
    changed((each) => Object.assign(each['sandbox'] ?? {}, { state: { instance: 'i-2' } })),
    /"sandbox.state.instance" must be "i-1"/,
  ],
  [
    'a state that is a list',
    changed((each) => Object.assign(each['sandbox'] ?? {}, { state: [] })),
    /"sandbox.state" must be an object$/,
  ],
]
for (const [what, text, message] of refused)
  test(`parseHandle refuses ${what}, and says why`, () => {
    assert.throws(() => parseHandle(text, 'i-1'), { code: 'invalid', message })
  })

test('parseHandle throws nothing but its own refusals, whatever the text', () => {
  const parse = (text: string): void => {
    try {
      parseHandle(text, 'i-1')
    } catch (error) {
      assert.ok(error instanceof AppError, String(error))
    }
  }
  fc.assert(fc.property(fc.string(), parse), { numRuns: 300 })
  fc.assert(fc.property(fc.json(), parse), { numRuns: 300 })
})

test('Handles: links, folders and pipes in the way, long files and strangers are refusals, never reads', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'hearth-handles-'))
  try {
    const put = async (name: string, text: string): Promise<void> => {
      await mkdir(path.join(folder, name))
      await writeFile(path.join(folder, name, 'handle.json'), text)
    }
    await put('i-1', JSON.stringify(good))
    await put('i-2', JSON.stringify(good))
    await put('i-3', `${JSON.stringify({ ...good, instance: 'i-3' })}${' '.repeat(70_000)}`)
    await mkdir(path.join(folder, 'i-4'))
    await symlink(path.join(folder, 'i-1', 'handle.json'), path.join(folder, 'i-4', 'handle.json'))
    await mkdir(path.join(folder, 'i-5', 'handle.json'), { recursive: true })
    await mkdir(path.join(folder, 'i-6'))
    await mkdir(path.join(folder, 'i-7'))
    execFileSync('mkfifo', [path.join(folder, 'i-7', 'handle.json')])
    await put('stranger', JSON.stringify(good))
    const handles = new Handles(folder, silentLogger)
    const found = new Map(
      (await handles.read()).map((each) => [each.instance, 'refusal' in each ? each.refusal : 'read']),
    )
    assert.deepEqual([...found.keys()].toSorted(), ['i-1', 'i-2', 'i-3', 'i-4', 'i-5', 'i-6', 'i-7'])
    assert.equal(found.get('i-1'), 'read')
    assert.match(found.get('i-2') ?? '', /"instance" must be "i-2"/)
    assert.match(found.get('i-3') ?? '', /longer than 65536 bytes/)
    assert.match(found.get('i-4') ?? '', /ELOOP/)
    assert.equal(found.get('i-5'), 'its handle is no file')
    assert.equal(found.get('i-7'), 'its handle is no file')
    assert.equal(found.get('i-6'), 'it has no handle')
    handles.remove('i-4')
    await handles.settled()
    assert.deepEqual((await readdir(folder)).toSorted(), ['i-1', 'i-2', 'i-3', 'i-5', 'i-6', 'i-7', 'stranger'])
  } finally {
    await rm(folder, { recursive: true })
  }
})
