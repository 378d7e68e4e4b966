import type { ContainerFacts } from '../../domain/container-image.ts'
import type { Arch } from '../../domain/function.ts'
import { refuseOther } from './image-parts.ts'
import { objectOf, parseObject, textOf, textsOf } from './json.ts'
import { buildAgain, refuseImage } from './refusal.ts'

/** All of an image's variables, and its command, go to each Instance at its start. */
const envBytesMax = 64 * 1024
const commandBytesMax = 16 * 1024

export interface ImageConfig {
  readonly facts: Omit<ContainerFacts, 'manifest' | 'user'>
  /** USER as it is written: `name`, `uid`, each with `:group`, or nothing. */
  readonly user: string
  /** Of each layer's tar before it was compressed. */
  readonly diffIds: readonly string[]
}

/** Reads the configuration of an image. Throws invalid, naming the field; also when it is for another processor than `arch`. */
export function parseImageConfig(text: string, arch: Arch): ImageConfig {
  const where = 'the configuration'
  const fields = parseObject(where, text)
  refuseOther(where, fields, arch)
  const config = objectOf(`${where}: config`, fields['config'] ?? {})
  const entrypoint = textsOf(`${where}: Entrypoint`, config['Entrypoint'])
  const command = [...entrypoint, ...textsOf(`${where}: Cmd`, config['Cmd'])]
  refuseLong(`${where}: Entrypoint and Cmd`, command, commandBytesMax)
  const workdir = textOf(`${where}: WorkingDir`, config['WorkingDir'] ?? '') || '/'
  if (!workdir.startsWith('/')) throw refuseImage(`${where}: WorkingDir`, `"${workdir}" is not absolute`, buildAgain)
  const rootfs = objectOf(`${where}: rootfs`, fields['rootfs'])
  return {
    facts: { command, env: envOf(`${where}: Env`, config['Env']), workdir },
    user: textOf(`${where}: User`, config['User'] ?? ''),
    diffIds: textsOf(`${where}: rootfs.diff_ids`, rootfs['diff_ids']),
  }
}

/** Of `config.Env`: a list of `NAME=value`, the last of a name counts. */
function envOf(where: string, value: unknown): Readonly<Record<string, string>> {
  const lines = textsOf(where, value)
  refuseLong(where, lines, envBytesMax)
  const pairs = lines.map((line): [string, string] => {
    const at = line.indexOf('=')
    if (at < 1) throw refuseImage(where, `"${line}" is no NAME=value`, buildAgain)
    return [line.slice(0, at), line.slice(at + 1)]
  })
  return Object.fromEntries(pairs)
}

function refuseLong(where: string, texts: readonly string[], bytesMax: number): void {
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, 0)
  if (bytes > bytesMax) throw refuseImage(where, `it has ${bytes} bytes, the limit is ${bytesMax}`, 'Shorten it.')
}
