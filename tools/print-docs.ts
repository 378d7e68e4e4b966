import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { appRoot } from '../src/main/app.ts'
import { printedPages, storedPage } from './printed-pages.ts'

/* npm run docs: writes the reference pages that are printed from code. */

for (const { file, text } of await printedPages()) {
  if (storedPage(file) === text) continue
  writeFileSync(path.join(appRoot, file), text)
  console.log(`wrote ${file}`)
}
