import { readFileSync } from 'node:fs'
import path from 'node:path'
import { openapi } from '@hearth/sdk'
import { format, resolveConfig } from 'prettier'
import { httpApiPage } from '../sdk/src/reference.ts'
import { commands } from '../src/cli/commands.ts'
import { cliPage } from '../src/cli/reference.ts'
import { appRoot, appVersion } from '../src/main/app.ts'
import { machineCommands } from '../src/main/commands.ts'
import { configurationPage } from '../src/main/config-docs.ts'

/** Reference pages that are printed from code; `tools/print-docs.ts` writes them, a test compares. */
export async function printedPages(): Promise<readonly { file: string; text: string }[]> {
  const pages = [
    { file: 'docs/reference/cli.md', text: cliPage([...machineCommands, ...commands]) },
    { file: 'docs/reference/configuration.md', text: configurationPage() },
    { file: 'docs/reference/http-api.md', text: httpApiPage() },
    { file: 'docs/reference/openapi.json', text: JSON.stringify(openapi(appVersion)) },
  ]
  return Promise.all(pages.map(async ({ file, text }) => ({ file, text: await formatted(file, text) })))
}

export function storedPage(file: string): string {
  try {
    return readFileSync(path.join(appRoot, file), 'utf8')
  } catch {
    return ''
  }
}

async function formatted(file: string, text: string): Promise<string> {
  const filepath = path.join(appRoot, file)
  return format(text, { ...(await resolveConfig(filepath)), filepath })
}
