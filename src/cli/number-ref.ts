import { CliError } from './cli-error.ts'

/** `NAME:NUMBER` of a layer or a version of a function, in parts. `example`: a name that such a one may have. Throws CliError. */
export function parseNumberRef(
  text: string,
  { kind, example }: { kind: 'layer' | 'version'; example: string },
): { name: string; number: number } {
  const [, name, number] = /^([A-Za-z0-9_-]{1,64}):([1-9]\d{0,8})$/.exec(text) ?? []
  if (name === undefined) throw new CliError(`Invalid ${kind} "${text}": must be NAME:NUMBER, e.g. ${example}.`)
  return { name, number: Number(number) }
}

export const layerRef = { kind: 'layer', example: 'tools:1' } as const
export const versionRef = { kind: 'version', example: 'process-image:3' } as const
