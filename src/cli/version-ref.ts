import { CliError } from './cli-error.ts'

/** `NAME:NUMBER` in parts. Throws CliError. */
export function parseVersionRef(text: string): { name: string; number: number } {
  const [, name, number] = /^([A-Za-z0-9_-]{1,64}):([1-9]\d{0,8})$/.exec(text) ?? []
  if (name === undefined) throw new CliError(`Invalid version "${text}": must be NAME:NUMBER, e.g. process-image:3.`)
  return { name, number: Number(number) }
}
