import assert from 'node:assert/strict'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { fromBuffer } from 'yauzl'
import { openBundle } from './bundle.ts'
import { refuseUnreadable } from './code-files.ts'

const scratch = mkdtempSync(path.join(os.tmpdir(), 'hearth-bundle-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

function folderOf(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(path.join(scratch, 'f-'))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true })
    writeFileSync(path.join(folder, name), text)
  }
  return folder
}

async function entriesOf(file: string): Promise<Record<string, number>> {
  return new Promise((resolve, reject) => {
    fromBuffer(readFileSync(file), { lazyEntries: false }, (error, zip) => {
      if (error) return reject(error)
      const entries: Record<string, number> = {}
      zip.on('entry', (entry) => (entries[entry.fileName] = (entry.externalFileAttributes >>> 16) & 0o777))
      zip.on('end', () => resolve(entries))
    })
  })
}

test('openBundle: a folder becomes the same bytes every time, whatever its times; executables stay executable', async () => {
  const files = {
    'b.js': 'b',
    'a/x.js': 'x',
    '.git/HEAD': 'ref',
    'node_modules/m/index.js': 'm',
    'skip.log': '',
    '.hearthignore': '*.log\n',
  }
  const [one, two] = [folderOf(files), folderOf(files)]
  utimesSync(path.join(two, 'b.js'), 1, 1)
  for (const folder of [one, two]) chmodSync(path.join(folder, 'a/x.js'), 0o755)
  const first = await openBundle(one)
  const second = await openBundle(two)
  assert.equal(first.sha256, second.sha256)
  assert.deepEqual(await entriesOf(first.file), { 'a/x.js': 0o755, 'b.js': 0o644, 'node_modules/m/index.js': 0o644 })
  assert.equal(first.bytes, readFileSync(first.file).length)
  await first.dispose()
  await second.dispose()
  assert.throws(() => readFileSync(first.file))
})

test('openBundle: a .zip is taken as it is', async () => {
  const made = await openBundle(folderOf({ 'index.js': '1' }))
  const again = await openBundle(made.file)
  assert.equal(again.sha256, made.sha256)
  await again.dispose()
  assert.ok(readFileSync(made.file).length > 0)
  await made.dispose()
})

test('openBundle: a link stays one where what it leads to is in the bundle, else it is followed; others are refused', async () => {
  const inside = folderOf({ 'real/x.js': 'x', 'left-out/y.js': 'y', '.hearthignore': '/left-out/\n' })
  symlinkSync('real', path.join(inside, 'alias'))
  symlinkSync('../real/x.js', path.join(inside, 'real/.self'))
  symlinkSync(path.join(inside, 'real'), path.join(inside, 'absolute'))
  symlinkSync('left-out', path.join(inside, 'copied'))
  const bundle = await openBundle(inside)
  const [plain, link] = [0o644, 0o777]
  assert.deepEqual(await entriesOf(bundle.file), {
    absolute: link,
    alias: link,
    'copied/y.js': plain,
    'real/.self': link,
    'real/x.js': plain,
  })
  await bundle.dispose()
  for (const [target, message] of [
    ['/etc/passwd', /^Cannot bundle "link": the link leaves the folder, to \/etc\/passwd\.$/],
    ['nowhere', /^Cannot bundle "link": the link leads nowhere\.$/],
    ['.', /^Cannot bundle "link": the link leads into itself\.$/],
  ] as const) {
    const folder = folderOf({ 'x.js': 'x' })
    symlinkSync(target, path.join(folder, 'link'))
    await assert.rejects(openBundle(folder), { message })
  }
})

test('openBundle: what is no code is refused by name', async () => {
  await assert.rejects(openBundle(path.join(scratch, 'absent')), /there is no such file or folder/)
  await assert.rejects(openBundle(folderOf({})), /the folder has no files/)
  const file = path.join(folderOf({ 'x.tar': '' }), 'x.tar')
  await assert.rejects(openBundle(file), /must be a folder or a \.zip file/)
})

test(
  'openBundle: a name that is no text is named, with what to do',
  { skip: process.platform !== 'linux' },
  async () => {
    const folder = folderOf({ 'x.js': 'x' })
    writeFileSync(Buffer.concat([Buffer.from(`${folder}/bad`), Buffer.from([0xff])]), '')
    await assert.rejects(openBundle(folder), {
      message: 'Cannot bundle "bad\ufffd": its name is not UTF-8.',
      hint: /hearthignore/,
      exitCode: 2,
    })
  },
)

test('refuseUnreadable: why a file cannot be read; what is no such thing passes', () => {
  const failure = (code: string): Error => Object.assign(new Error(code), { code })
  assert.throws(() => refuseUnreadable('a/b.js', failure('EACCES')), {
    message: 'Cannot bundle "a/b.js": you may not read it.',
  })
  assert.throws(() => refuseUnreadable('a/b.js', failure('ENOENT')), /it went while it was looked at/)
  assert.throws(() => refuseUnreadable('a/b.js', failure('EMFILE')), { message: 'EMFILE' })
})
