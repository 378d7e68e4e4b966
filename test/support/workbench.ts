import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, before } from 'node:test'
import { startPlatform, type CliResult, type Platform } from './platform.ts'

/** A platform and a folder beside it, for the tests of one file: from before the first until after the last. */
export interface Workbench {
  readonly folder: string
  /** Only in tests and hooks. */
  readonly platform: Platform
  /** Writes files into a folder of this name; gives its path. */
  source(name: string, files: Readonly<Record<string, string>>): string
}

export function openWorkbench(name: string): Workbench {
  const folder = mkdtempSync(path.join(os.tmpdir(), `hearth-${name}-`))
  let platform: Platform | null = null
  before(async () => {
    platform = await startPlatform()
  })
  after(async () => {
    await platform?.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  return {
    folder,
    get platform() {
      assert.ok(platform !== null, 'the platform runs from the first test on')
      return platform
    },
    source(below, files) {
      for (const [file, text] of Object.entries(files)) {
        mkdirSync(path.dirname(path.join(folder, below, file)), { recursive: true })
        writeFileSync(path.join(folder, below, file), text)
      }
      return path.join(folder, below)
    },
  }
}

/** What the command printed; its own words where it failed. */
export async function works(done: Promise<CliResult>): Promise<CliResult> {
  const result = await done
  assert.equal(result.code, 0, result.stderr)
  return result
}
