'use strict'
/* What one build leaves for the next: files below /tmp as one stream, each a line of JSON with its name, size, mode and time, then its bytes; compressed
 * by zstd. Only sandboxes ever take such a stream apart. */

const {
  createReadStream,
  mkdirSync,
  openSync,
  closeSync,
  readdirSync,
  statSync,
  utimesSync,
  writeSync,
} = require('node:fs')
const path = require('node:path')
const { pipeline } = require('node:stream/promises')
const zlib = require('node:zlib')

/** Older releases of Node have no zstd: builds then keep nothing. */
exports.isPossible = typeof zlib.createZstdCompress === 'function'

/** Names, below `root`, of the files in `folders` that match `keep` and not `omit`, and of empty folders with a `/` behind. */
exports.filesOf = (root, { folders, keep, omit }) => {
  const [isKept, isOmitted] = [new RegExp(keep), new RegExp(omit)]
  const names = []
  const walk = (folder) => {
    for (const entry of entriesOf(path.join(root, folder))) {
      const name = `${folder}/${entry.name}`
      if (isOmitted.test(name)) continue
      if (entry.isDirectory()) {
        if (entriesOf(path.join(root, name)).length > 0) walk(name)
        else if (isKept.test(`${name}/`)) names.push(`${name}/`)
      } else if (entry.isFile() && isKept.test(name)) names.push(name)
    }
  }
  for (const folder of folders) walk(folder)
  return names.sort((a, b) => (a < b ? -1 : 1))
}

/** Writes the stream of `names` below `root` to `output`, and does not end it. */
exports.pack = async (root, names, output) => {
  const params = { [zlib.constants.ZSTD_c_compressionLevel]: 1 }
  await pipeline(() => parts(root, names), zlib.createZstdCompress({ params }), output, { end: false })
}

/** Puts the files of the stream in `file` below `root`; resolves to their names. Throws where it is cut off, or was made later than now: its files would pass for
 *  newer than the source. */
exports.unpack = async (file, root) => {
  const names = []
  let open = null
  let rest = Buffer.alloc(0)
  const take = (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    for (;;) {
      if (open === null) {
        const end = rest.indexOf(10)
        if (end < 0) return
        open = start(root, JSON.parse(rest.toString('utf8', 0, end)))
        names.push(open.name)
        rest = rest.subarray(end + 1)
      }
      const part = rest.subarray(0, open.left)
      if (open.fd !== null && part.length > 0) writeSync(open.fd, part)
      open.left -= part.length
      rest = rest.subarray(part.length)
      if (open.left > 0) return
      finish(open)
      open = null
    }
  }
  await pipeline(createReadStream(file), zlib.createZstdDecompress(), async (chunks) => {
    for await (const chunk of chunks) take(chunk)
  })
  if (open !== null || rest.length > 0) throw new Error('it is cut off')
  return names
}

function entriesOf(folder) {
  try {
    return readdirSync(folder, { withFileTypes: true })
  } catch (error) {
    if (error.code === 'ENOENT') return []
    throw error
  }
}

async function* parts(root, names) {
  for (const name of names) {
    const file = path.join(root, name)
    const { size, mode, mtimeMs } = statSync(file)
    const bytes = name.endsWith('/') ? 0 : size
    yield Buffer.from(`${JSON.stringify({ name, bytes, mode: mode & 0o777, mtimeMs })}\n`)
    if (bytes > 0)
      for await (const chunk of createReadStream(file, { end: bytes - 1, highWaterMark: 2 ** 18 })) yield chunk
  }
}

function start(root, { name, bytes, mode, mtimeMs }) {
  if (mtimeMs > Date.now()) throw new Error('it was made later than now')
  const file = path.join(root, name)
  const isFolder = name.endsWith('/')
  mkdirSync(isFolder ? file : path.dirname(file), { recursive: true })
  return { name, file, mtimeMs, left: bytes, fd: isFolder ? null : openSync(file, 'w', mode) }
}

function finish({ fd, file, mtimeMs }) {
  if (fd !== null) closeSync(fd)
  utimesSync(file, mtimeMs / 1000, mtimeMs / 1000)
}
