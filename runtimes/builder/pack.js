'use strict'
/* Makes one zip of the folder in which packages were installed: the same files give the same bytes. */

const { createWriteStream, lstatSync, readdirSync, readlinkSync } = require('node:fs')
const path = require('node:path')
const { pipeline } = require('node:stream/promises')
const { ZipFile } = require('yazl')

const mtime = new Date(1980, 0, 1)

/** Writes `file` and returns its name: all that is in `folder`, and `notes`, texts by name that take the place of what is there. */
exports.pack = async ({ folder, file, notes }) => {
  const zip = new ZipFile()
  for (const name of namesBelow(folder).sort()) if (!(name in notes)) add(zip, folder, name)
  for (const [name, text] of Object.entries(notes)) zip.addBuffer(Buffer.from(text), name, options(0o100644))
  zip.end()
  await new Promise((resolve, reject) => {
    zip.on('error', reject)
    pipeline(zip.outputStream, createWriteStream(file)).then(resolve, reject)
  })
  return file
}

function add(zip, folder, name) {
  const place = path.join(folder, name)
  const facts = lstatSync(place)
  if (facts.isSymbolicLink()) zip.addBuffer(Buffer.from(readlinkSync(place)), name, options(0o120777))
  else if (facts.isFile()) zip.addFile(place, name, options((facts.mode & 0o111) === 0 ? 0o100644 : 0o100755))
}

function namesBelow(folder, below = '') {
  return readdirSync(path.join(folder, below), { withFileTypes: true }).flatMap((entry) => {
    const name = path.posix.join(below, entry.name)
    return entry.isDirectory() ? namesBelow(folder, name) : [name]
  })
}

const options = (mode) => ({ mtime, mode, forceDosTimestamp: true })
