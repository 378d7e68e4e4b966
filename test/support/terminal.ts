import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '../..')

/** Reason to skip tests that need a pseudo-terminal, or false. */
export const noTerminal = existsSync('/usr/bin/script') ? false : 'script (package bsdutils) is not installed'

export interface TerminalResult {
  /** Everything the terminal showed, control sequences included. */
  readonly screen: string
  /** The same without them. */
  readonly text: string
  readonly code: number
}

/** Runs `bin/hearth` in a pseudo-terminal, as a person would; `typed` is what they type, once the program has asked. */
export async function inTerminal(
  args: readonly string[],
  options: { env: Readonly<Record<string, string>>; cwd?: string; typed?: string },
): Promise<TerminalResult> {
  const command = [path.join(root, 'bin/hearth'), ...args].map(quote).join(' ')
  const child = spawn('script', ['-qefc', command, '/dev/null'], {
    cwd: options.cwd ?? root,
    env: { ...process.env, TERM: 'xterm-256color', COLUMNS: '100', ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let screen = ''
  let isTyped = false
  child.stdout.on('data', (chunk: Buffer) => {
    screen += chunk.toString()
    if (isTyped || options.typed === undefined) return
    isTyped = true
    // What is typed before the prompt has the terminal would be shown or lost.
    setTimeout(() => child.stdin.write(options.typed ?? ''), 150)
  })
  const code = await new Promise<number>((resolve) => child.on('close', (status) => resolve(status ?? 9)))
  child.stdin.destroy()
  return { screen, text: plainText(screen), code }
}

function plainText(screen: string): string {
  // oxlint-disable-next-line no-control-regex -- terminals speak in control sequences
  return screen.replaceAll(/\x1b\[[0-9;?]*[A-Za-z]/g, '').replaceAll('\r', '')
}

function quote(word: string): string {
  return `'${word.replaceAll("'", String.raw`'\''`)}'`
}
