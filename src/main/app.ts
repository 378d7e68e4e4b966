import { readFileSync } from 'node:fs'
import path from 'node:path'

/** Folder of the application: the clone or the installed package. */
export const appRoot = path.resolve(import.meta.dirname, '../..')

/** The sandbox program, as `tools/setup.mjs` builds it. */
export const guestProgram = path.join(appRoot, 'guest/target/release/hearth-guest')

export const appVersion = (JSON.parse(readFileSync(path.join(appRoot, 'package.json'), 'utf8')) as { version: string })
  .version
