import assert from 'node:assert/strict'
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { randomBytes } from 'node:crypto'
import os from 'node:os'
import path from 'node:path'
import { after, describe, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { hexOf, imageBlobs, layoutOf, ociLayout, dockerArchive, tarOf } from '../../../test/support/container-image.ts'
import type { Entry, ImageSpec } from '../../../test/support/container-image.ts'
import { rejects } from '../../../test/support/rejects.ts'
import { AppError } from '../../domain/error.ts'
import type { Arch } from '../../domain/function.ts'
import { limits } from '../../domain/limits.ts'
import type { ImageBounds } from './budget.ts'
import { flattenImage, type Flattened } from './flatten.ts'

const scratch = mkdtempSync(path.join(os.tmpdir(), 'hearth-oci-'))
const arch: Arch = process.arch === 'arm64' ? 'arm64' : 'x86_64'
let count = 0
after(() => rmSync(scratch, { recursive: true, force: true }))

/** Flattens in a folder of its own: whatever leaves `target` is seen there. */
async function flatten(bytes: Buffer, bounds: ImageBounds = limits.image): Promise<Flattened & { root: string }> {
  const home = path.join(scratch, `${count++}`)
  mkdirSync(home)
  const [archive, target, draft] = ['archive', 'root', 'draft'].map((name) => path.join(home, name))
  assert.ok(archive !== undefined && target !== undefined && draft !== undefined)
  writeFileSync(archive, bytes)
  try {
    return { ...(await flattenImage({ archive, target, draft, arch, bounds })), root: target }
  } finally {
    const left = readdirSync(home).filter((name) => name !== 'root')
    assert.deepEqual(left, ['archive'])
  }
}

/** Every entry; links are not followed, as readdir's own recursion does. */
function entriesOf(root: string, below = ''): string[] {
  return readdirSync(path.join(root, below), { withFileTypes: true }).flatMap((entry) => {
    const name = path.join(below, entry.name)
    return entry.isDirectory() ? [name, ...entriesOf(root, name)] : [name]
  })
}

/** What a tree has beside what every root gets. */
function listed(root: string): string[] {
  const own = /^(dev|proc|sys|run|tmp|mnt|etc|etc\/(hosts|hostname|resolv\.conf|passwd|group))$/
  const found = entriesOf(root).filter((name) => !own.test(name))
  return found.toSorted((a, b) => (a < b ? -1 : 1))
}

const command = { Entrypoint: ['/x'] }
const link = (name: string, linkname: string): Entry => ({ name, type: 'symlink', linkname })
const layers = (...entries: (readonly Entry[])[]): ImageSpec => ({ layers: entries, config: command })

describe('flattenImage', () => {
  test('modes, links and what is no file: programs stay programs, nobody gains rights, devices are left out', async () => {
    const { root, bytes, entries, facts } = await flatten(
      await ociLayout({
        layers: [
          [
            { name: './usr/bin/', type: 'directory', mode: 0o700 },
            { name: './usr/bin/tool', mode: 0o4700, content: 'tool' },
            { name: './bin', type: 'symlink', linkname: 'usr/bin' },
            { name: 'secret', mode: 0o600, content: 'for its owner' },
            { name: 'dev/sda', type: 'block-device', devmajor: 8, devminor: 0 },
            { name: 'pipe', type: 'fifo' },
            { name: 'abs', type: 'symlink', linkname: '/usr/bin/tool' },
          ],
          [
            { name: 'bin/more', mode: 0o755, content: 'through the link' },
            { name: 'same', type: 'link', linkname: 'usr/bin/tool' },
            { name: 'usr/abs', type: 'link', linkname: 'abs' },
          ],
        ],
        config: { Cmd: ['run'], Env: ['A=1', 'B=x=y', 'A=2'], WorkingDir: '/srv' },
      }),
    )
    const expected = [
      'abs',
      'bin',
      'same',
      'secret',
      'srv',
      'usr',
      'usr/abs',
      'usr/bin',
      'usr/bin/more',
      'usr/bin/tool',
    ]
    assert.deepEqual(listed(root), expected)
    const mode = (name: string): number => lstatSync(path.join(root, name)).mode & 0o7777
    assert.deepEqual(['usr/bin', 'usr/bin/tool', 'secret', 'same'].map(mode), [0o755, 0o755, 0o644, 0o755])
    for (const name of ['abs', 'usr/abs']) assert.equal(readlinkSync(path.join(root, name)), '/usr/bin/tool')
    assert.equal(readFileSync(path.join(root, 'same'), 'utf8'), 'tool')
    assert.deepEqual([bytes, entries], [4 + 4 + 13 + 16 + 41 + 7 + 40, expected.length + 7 + 5])
    const { manifest, ...said } = facts
    assert.deepEqual(said, { command: ['run'], env: { A: '2', B: 'x=y' }, workdir: '/srv', user: 'function' })
    assert.match(manifest ?? '', /^sha256:/)
  })

  test('whiteouts hide lower layers alone, whatever kind of thing is there', async () => {
    const lower: readonly Entry[] = [
      { name: 'a/1', content: '' },
      { name: 'a/2', content: '' },
      { name: 'b/deep/file', content: '' },
      { name: 'c', type: 'symlink', linkname: 'a' },
      { name: 'd/x', content: 'file' },
      { name: 'd/keep/lower', content: '' },
    ]
    const upper: readonly Entry[] = [
      { name: 'a/3', content: '' },
      { name: 'a/.wh.1' },
      { name: '.wh.b' },
      { name: '.wh.c' },
      { name: 'c/now', content: 'a folder' },
      { name: 'd/keep/upper', content: '' },
      { name: 'd/.wh..wh..opq' },
      { name: 'd/y', content: '' },
      { name: '.wh.never' },
    ]
    const { root } = await flatten(await ociLayout(layers(lower, upper)))
    assert.deepEqual(listed(root), ['a', 'a/2', 'a/3', 'c', 'c/now', 'd', 'd/keep', 'd/keep/upper', 'd/y'])
  })

  test('mount points are real folders, and the name service is not that of the image', async () => {
    const { root } = await flatten(
      await dockerArchive(
        layers([
          { name: 'tmp', type: 'symlink', linkname: 'var/tmp' },
          { name: 'proc', content: 'a file' },
          { name: 'etc/resolv.conf', type: 'symlink', linkname: '../run/resolv.conf' },
          { name: 'etc/hosts', content: '6.6.6.6 localhost\n' },
        ]),
      ),
    )
    for (const name of ['tmp', 'proc', 'mnt']) assert.ok(lstatSync(path.join(root, name)).isDirectory(), name)
    assert.equal(readFileSync(path.join(root, 'etc/resolv.conf'), 'utf8'), '')
    assert.match(readFileSync(path.join(root, 'etc/hosts'), 'utf8'), /^127\.0\.0\.1 localhost/)
  })

  test('what the image has in folders of the sandbox is left out', async () => {
    const { root } = await flatten(
      await ociLayout(
        layers([
          { name: 'run/app/socket', content: '' },
          { name: 'sys/x', content: '' },
          { name: 'tmp/x', content: '' },
          { name: 'mnt/models/one', content: '' },
        ]),
      ),
    )
    assert.deepEqual(listed(root), ['mnt/models', 'mnt/models/one'])
  })

  test('a WORKDIR that no layer has is made where its links lead, and a file stays a file', async () => {
    const made = async (workdir: string, ...entries: readonly Entry[]): Promise<string[]> => {
      const image = await ociLayout({ ...layers(entries), config: { ...command, WorkingDir: workdir } })
      return listed((await flatten(image)).root)
    }
    const current = link('current', '/releases/1')
    assert.deepEqual(await made('/current/app', current), ['current', 'releases', 'releases/1', 'releases/1/app'])
    assert.deepEqual(await made('/a/../b/', { name: 'a', content: '' }), ['a', 'b'])
    await assert.rejects(made('/a/b', { name: 'a', content: '' }), /WorkingDir: \/a\/b: "\/a" is a file/)
    await assert.rejects(made('/out/b', link('out', '../../x')), /WorkingDir: \/out\/b: it leads out of the image/)
  })

  const small = { unpackedBytesMax: 1_000_000, entriesMax: 100 }
  const noise: Entry = { name: 'noise', content: randomBytes(100_000) }
  const cutShort = (bytes: Buffer): Buffer => bytes.subarray(0, bytes.length / 2)
  const refusals: readonly (readonly [string, () => Promise<Buffer>, RegExp])[] = [
    [
      'a path that leaves',
      async () => ociLayout(layers([{ name: '../../x', content: '' }])),
      /layer blobs\/.*\.\.\/\.\.\/x: its path leaves the image/,
    ],
    [
      'a link that leaves',
      async () => ociLayout(layers([link('a', '../..'), { name: 'a/x', content: '' }])),
      /a\/x: it leads out of the image through a link/,
    ],
    [
      'links in a circle',
      async () => ociLayout(layers([link('a', 'b'), link('b', 'a'), { name: 'a/x', content: '' }])),
      /more than 40 links/,
    ],
    [
      'a hard link out',
      async () => ociLayout(layers([{ name: 'a', type: 'link', linkname: '../../../etc/passwd' }])),
      /its path leaves the image/,
    ],
    [
      'a hard link to nothing',
      async () => ociLayout(layers([{ name: 'a', type: 'link', linkname: 'etc/shadow' }])),
      /"etc\/shadow", which is no file of the image/,
    ],
    [
      'a layer bomb',
      async () => ociLayout(layers([{ name: 'zeros', content: Buffer.alloc(2_000_000) }])),
      /zeros: with it the image has more than 1000000 bytes/,
    ],
    [
      'a bomb of headers',
      async () => ociLayout(layers(Array.from({ length: 200 }, (_, n) => ({ name: `${n}`, content: '' })))),
      /more than 100 files/,
    ],
    ['no image', async () => Buffer.from('neither tar nor image'), /the archive/],
    ['an empty tar', async () => tarOf([]), /it is no tar, or an empty one/],
    [
      'an archive cut short',
      async () => cutShort(gzipSync(await ociLayout(layers([noise])))),
      /the archive: its bytes are damaged/,
    ],
    [
      'a tar cut short',
      async () => cutShort(await ociLayout(layers([noise]))),
      /the archive: its bytes are damaged|named, but not in/,
    ],
    [
      'another archive',
      async () => tarOf([{ name: 'index.html', content: '' }]),
      /neither index\.json and oci-layout nor manifest\.json/,
    ],
    ['another processor', async () => ociLayout({ ...layers([]), architecture: 's390x' }), /linux\/s390x, not linux\//],
    [
      'damaged JSON',
      async () =>
        tarOf([
          { name: 'oci-layout', content: '{}' },
          { name: 'index.json', content: '{' },
        ]),
      /index\.json: it is no JSON/,
    ],
    [
      'fewer layers than named',
      async () =>
        ociLayout({ ...layers([{ name: 'a', content: '' }]), change: ({ manifest }) => (manifest['layers'] = []) }),
      /it names 1 layers, the manifest 0/,
    ],
    [
      'a layer that is another',
      async () =>
        ociLayout({
          ...layers([{ name: 'a', content: '' }]),
          change: ({ config }) => (config['rootfs'] = { diff_ids: [`sha256:${'0'.repeat(64)}`] }),
        }),
      /it unpacks to sha256:.*, the configuration says sha256:0000/,
    ],
    [
      'a variable without a name',
      async () => ociLayout({ ...layers([]), config: { Env: ['=x'] } }),
      /"=x" is no NAME=value/,
    ],
    [
      'a command that is no list',
      async () => ociLayout({ ...layers([]), config: { Entrypoint: 'sh' } }),
      /Entrypoint: it is no list/,
    ],
  ]
  for (const [what, make, says] of refusals)
    test(`refuses ${what}, naming it`, async () => {
      await rejects(flatten(await make(), small), 'invalid', says)
    })

  test('memory: names and attributes without end are refused before they are held', async () => {
    for (const type of ['x', 'L']) {
      const tar = await tarOf([{ name: 'a', content: Buffer.alloc(64 * 1024 * 1024) }])
      // The header now says that what follows is a name.
      tar.write(type, 156, 'latin1')
      tar.write('        ', 148, 'latin1')
      const sum = tar.subarray(0, 512).reduce((all, byte) => all + byte, 0)
      tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
      await assert.rejects(flatten(gzipSync(tar)), /the archive: names or attributes of an entry take more than 4 MiB/)
      const { blobs, manifest } = await imageBlobs({ ...layers([]), extra: [gzipSync(tar)] })
      await assert.rejects(
        flatten(await layoutOf(blobs, { manifests: [{ digest: `sha256:${manifest}` }] })),
        /layer blobs\/.*: names or attributes/,
      )
    }
  })

  test('time: indexes that name one another many times are looked at once each', async () => {
    const { blobs, manifest } = await imageBlobs(layers([{ name: 'a', content: 'a' }]))
    const all = new Map(blobs)
    let below = `sha256:${manifest}`
    for (let n = 0; n < 12; n++) {
      const index = Buffer.from(
        JSON.stringify({ manifests: Array.from({ length: 100 }, () => ({ digest: below })), n }),
      )
      all.set(hexOf(index), index)
      below = `sha256:${hexOf(index)}`
    }
    const { root } = await flatten(await layoutOf(all, { manifests: [{ digest: below }] }))
    assert.deepEqual(listed(root), ['a'])
    const wide = Array.from({ length: 300 }, (_, n) => ({ digest: `sha256:${hexOf(`${n}`)}` }))
    const many = new Map([...blobs, ...wide.map((_, n) => [hexOf(`${n}`), Buffer.from(`${n}`)] as const)])
    await assert.rejects(flatten(await layoutOf(many, { manifests: wide })), /is no JSON|more than 256 manifests/)
  })

  test('folders that paths imply count', async () => {
    const deep = Array.from({ length: 50 }, (_, n) => ({ name: `${n}/a/b/c/d`, content: '' }))
    await assert.rejects(flatten(await ociLayout(layers(deep)), small), /with it there are more than 100 folders/)
  })

  test('a folder over a link of a lower layer takes its place; a hard link cannot replace the folder it leads into', async () => {
    const { root } = await flatten(
      await ociLayout(
        layers(
          [{ name: 'releases/1/old', content: '' }, link('current', '/releases/1'), link('other', 'releases')],
          [
            { name: 'current/', type: 'directory' },
            { name: 'current/.wh..wh..opq' },
            { name: 'current/new', content: '' },
            { name: 'other/through', content: '' },
          ],
        ),
      ),
    )
    const expected = ['current', 'current/new', 'other', 'releases', 'releases/1', 'releases/1/old', 'releases/through']
    assert.deepEqual(listed(root), expected)
    const inside = layers([
      { name: 'a/b', content: '' },
      { name: 'a', type: 'link', linkname: 'a/b' },
    ])
    await assert.rejects(flatten(await ociLayout(inside)), /lies in the folder that it replaces/)
    const many = Array.from({ length: 300 }, (_, n) => ({ name: `${n}`, content: '' }))
    await assert.rejects(flatten(await ociLayout(layers(many))), /more than 256 files and folders at its top/)
  })

  test('refuses blobs that are missing, damaged or go round in a circle, and more than one image', async () => {
    const { blobs, manifest } = await imageBlobs(layers([{ name: 'a', content: 'a' }]))
    const digest = `sha256:${manifest}`
    const refused = async (parts: ReadonlyMap<string, Buffer>, manifests: unknown[], says: RegExp): Promise<void> => {
      await assert.rejects(flatten(await layoutOf(parts, { manifests })), says)
    }
    const [layer = ''] = [...blobs.keys()]
    const without = new Map([...blobs].filter(([hex]) => hex !== layer))
    await refused(without, [{ digest }], /it is named, but not in the archive/)
    await refused(new Map([...blobs, [layer, Buffer.from('other')]]), [{ digest }], /its bytes have digest sha256:/)
    const other = await imageBlobs(layers([{ name: 'b', content: 'b' }]))
    const two = [{ digest }, { digest: `sha256:${other.manifest}` }]
    await refused(new Map([...blobs, ...other.blobs]), two, /it has 2 images: sha256:.*, sha256:/)
    const platform = { os: 'linux', architecture: 'mips' }
    await refused(blobs, [{ digest, platform }], /it has no image for linux\//)
    // An index cannot hold its own digest, but its name may lie.
    const name = 'a'.repeat(64)
    const circle = new Map([[name, Buffer.from(JSON.stringify({ manifests: [{ digest: `sha256:${name}` }] }))]])
    await refused(circle, [{ digest: `sha256:${name}` }], /its bytes have digest/)
    const deep = new Map<string, Buffer>()
    let below = digest
    for (let n = 0; n < 20; n++) {
      const index = Buffer.from(JSON.stringify({ manifests: [{ digest: below }] }))
      deep.set(hexOf(index), index)
      below = `sha256:${hexOf(index)}`
    }
    await refused(new Map([...blobs, ...deep]), [{ digest: below }], /indexes are nested more than 16 deep/)
  })

  test('whatever a layer holds, nothing outside of the root is touched', async () => {
    const outside = path.join(scratch, 'outside')
    mkdirSync(outside)
    writeFileSync(path.join(outside, 'file'), 'untouched')
    const name = fc
      .array(fc.constantFrom('a', 'b', 'c', '..', '.', ''), { minLength: 1, maxLength: 4 })
      .map((parts) => parts.join('/'))
    const target = fc.oneof(name, fc.constantFrom('/', '../..', '/a/../..', outside, `../../outside`))
    const entry: fc.Arbitrary<Entry> = fc.oneof(
      name.map((path) => ({ name: path || 'x', content: 'content' })),
      fc
        .tuple(name, target)
        .map(([path, linkname]) => ({ name: path || 'x', type: 'symlink' as const, linkname: linkname || 'y' })),
      fc
        .tuple(name, target)
        .map(([path, linkname]) => ({ name: path || 'x', type: 'link' as const, linkname: linkname || 'y' })),
      name.map((path) => ({ name: `${path}/.wh.a` })),
      name.map((path) => ({ name: `${path}/.wh..wh..opq` })),
      name.map((path) => ({ name: `${path || 'x'}/`, type: 'directory' as const })),
    )
    const spec = fc.array(fc.array(entry, { maxLength: 8 }), { minLength: 1, maxLength: 3 })
    await fc.assert(
      fc.asyncProperty(spec, async (all) => {
        const made = await flatten(await ociLayout({ layers: all, config: command })).catch((error: unknown) => {
          assert.ok(error instanceof AppError, String(error))
          return null
        })
        assert.deepEqual(readdirSync(outside), ['file'])
        assert.equal(readFileSync(path.join(outside, 'file'), 'utf8'), 'untouched')
        if (made === null) return
        const { root, entries } = made
        assert.equal(entries, entriesOf(root).length)
      }),
      { numRuns: 40 },
    )
  })
})
