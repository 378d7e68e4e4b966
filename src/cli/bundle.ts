import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ZipFile } from 'yazl'
import { CliError } from './cli-error.ts'
import { listCodeFiles, refuseUnreadable, type CodeFile } from './code-files.ts'
import { openScratchFolder } from './scratch-folder.ts'

/** A zip on disk, ready to go up. */
export interface Bundle {
  readonly file: string
  readonly bytes: number
  /** 64 hex digits. */
  readonly sha256: string
  /** Removes what was made for it. */
  dispose(): Promise<void>
}

export type Progress = (doneBytes: number, allBytes: number) => void

/** The bundle that `--code` names: a folder is zipped, a `.zip` is taken as it is. Throws CliError for anything else. */
export async function openBundle(code: string, progress: Progress = () => {}): Promise<Bundle> {
  const facts = await stat(code).catch((error: NodeJS.ErrnoException) => {
    const why = error.code === 'EACCES' ? 'you may not look into its folder' : 'there is no such file or folder'
    throw new CliError(`Cannot read --code "${code}": ${why}.`, { cause: error })
  })
  if (facts.isDirectory()) return zipFolder(code, progress)
  if (facts.isFile() && /\.zip$/i.test(code)) return wrapZip(path.resolve(code), facts.size)
  throw new CliError(`Cannot use --code "${code}": must be a folder or a .zip file.`)
}

async function wrapZip(file: string, bytes: number): Promise<Bundle> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return { file, bytes, sha256: hash.digest('hex'), dispose: async () => {} }
}

/** The same files give the same bytes: fixed order, fixed times, two modes and links. So an unchanged folder is never uploaded twice. */
async function zipFolder(folder: string, progress: Progress): Promise<Bundle> {
  const files = await listCodeFiles(folder)
  if (files.length === 0) throw new CliError(`Cannot use --code "${folder}": the folder has no files.`)
  const { folder: scratch, dispose } = await openScratchFolder()
  const file = path.join(scratch, 'code.zip')
  try {
    return { file, ...(await writeZip(file, files, progress)), dispose }
  } catch (error) {
    await dispose()
    throw error
  }
}

async function writeZip(
  target: string,
  files: readonly CodeFile[],
  progress: Progress,
): Promise<{ bytes: number; sha256: string }> {
  const zip = new ZipFile()
  const allBytes = files.reduce((sum, { bytes }) => sum + bytes, 0)
  for (const { name, source, isExecutable, link } of files)
    if (link === null) zip.addFile(source, name, entryOptions(isExecutable ? 0o100755 : 0o100644))
    else zip.addBuffer(Buffer.from(link), name, entryOptions(0o120777))
  zip.end()
  const hash = createHash('sha256')
  let bytes = 0
  const meter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk)
      bytes += chunk.length
      progress(Math.min(bytes, allBytes), allBytes)
      done(null, chunk)
    },
  })
  // yazl reports a file that vanished or grew as its own error, not the stream's.
  const broken = new Promise<never>((_, reject) => zip.on('error', reject))
  await Promise.race([pipeline(zip.outputStream, meter, createWriteStream(target)), broken]).catch((error: unknown) => {
    const { path: source } = error as NodeJS.ErrnoException
    const file = files.find((each) => each.source === source)
    if (file === undefined) throw error
    refuseUnreadable(file.name, error)
  })
  return { bytes, sha256: hash.digest('hex') }
}

/** DOS times carry no zone, so local midnight gives the same bytes everywhere. */
function entryOptions(mode: number) {
  return { mtime: new Date(1980, 0, 1), mode, forceDosTimestamp: true }
}
