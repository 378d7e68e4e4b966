import { isUtf8 } from 'node:buffer'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { buffer } from 'node:stream/consumers'
import { CliError } from './cli-error.ts'
import type { Context } from './context.ts'

/** `--data`: JSON as it stands, `@FILE`, or `-` for stdin. */
export async function readData(
  argument: string | undefined,
  { cwd, stdin }: Pick<Context, 'cwd' | 'stdin'>,
): Promise<Uint8Array> {
  if (argument === undefined) return new Uint8Array()
  if (argument === '-') return buffer(stdin)
  if (argument === '@') throw new CliError('Name the file after the "@", e.g. --data @event.json.')
  if (argument.startsWith('@')) return readNamed(argument.slice(1), cwd)
  return Buffer.from(argument)
}

/** A secret's value: `--value-file`, else what is piped in, else asked for without showing it. One final newline does not count. */
export async function readSecret(
  name: string,
  valueFile: string | undefined,
  { cwd, stdin, output }: Pick<Context, 'cwd' | 'stdin' | 'output'>,
): Promise<string> {
  if (valueFile !== undefined) return trimNewline(textOf(await readNamed(valueFile, cwd), name))
  if (stdin.isTTY !== true) return trimNewline(textOf(await buffer(stdin), name))
  if (!output.isInteractive) throw new CliError('No value: pipe it in, or name a file with --value-file.')
  const { password, isCancel } = await import('@clack/prompts')
  const answer = await password({ message: `Value of ${name}` })
  if (isCancel(answer) || answer === undefined) throw new CliError('Nothing was changed.', { exitCode: 1 })
  return answer
}

/** A secret is text: bytes that are none would come out as others. */
function textOf(bytes: Buffer, name: string): string {
  if (!isUtf8(bytes))
    throw new CliError(`Cannot store secret "${name}": its value is not UTF-8 text.`, {
      hint: `Store it as base64 and decode it in the function: base64 -w0 FILE | hearth secret set ${name}`,
    })
  return bytes.toString()
}

async function readNamed(file: string, cwd: string): Promise<Buffer> {
  try {
    return await readFile(path.resolve(cwd, file))
  } catch (cause) {
    const { code = 'unknown error' } = cause as NodeJS.ErrnoException
    throw new CliError(`Cannot read "${file}": ${readFailures[code] ?? code}.`, { cause })
  }
}

const readFailures: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EISDIR: 'it is a folder',
  EACCES: 'you may not read it',
}

function trimNewline(value: string): string {
  return value.replace(/\r?\n$/, '')
}
