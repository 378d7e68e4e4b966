import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parse as parseYaml, YAMLParseError } from 'yaml'
import { AppError, invalid } from '../domain/error.ts'
import { configKeys, envOf, flagOf, type ConfigKey, type ConfigName } from './config-keys.ts'
import { isMissing } from '../domain/is-missing.ts'
import { nearest } from '../domain/nearest.ts'

type ValueOf<K extends ConfigKey> = K extends { type: 'integer' }
  ? number
  : K extends { type: 'boolean' }
    ? boolean
    : K extends { type: 'list' }
      ? readonly string[]
      : K extends { type: 'choice'; allowed: readonly (infer A)[] }
        ? A
        : string

/** Every setting, parsed, checked and frozen; paths are absolute, '' where not set. */
export type Config = { readonly [N in ConfigName]: ValueOf<(typeof configKeys)[N]> }

export interface ConfigSources {
  /** By flag name without dashes; undefined and false are "not given". */
  readonly flags: Readonly<Record<string, unknown>>
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  /** hearth.yaml; undefined = the one in `cwd`, if there is one. */
  readonly file: string | undefined
}

/** Environment names that Hearth uses elsewhere: not settings, not mistakes. */
const otherEnv = /^HEARTH_(URL|API_KEY|PROJECT|NODE|CONFIG|TEST_\w+)$/

/** Flags over HEARTH_* environment over hearth.yaml over defaults.
 *  Throws invalid, naming where the value came from; unknown names come with the nearest known one. */
export function readConfig({ flags, env, cwd, file }: ConfigSources): Config {
  const names = Object.keys(configKeys) as ConfigName[]
  const fromFile = readFile(
    file === undefined ? path.join(cwd, 'hearth.yaml') : path.resolve(cwd, file),
    file !== undefined,
  )
  refuseUnknownEnv(env, names)
  const values: Record<string, unknown> = {}
  for (const name of names) {
    const key: ConfigKey = configKeys[name]
    const flag = flags[flagOf(name)]
    const variable = env[envOf(name)]
    if (isGiven(flag)) values[name] = check(`--${flagOf(name)}`, key, { value: flag, base: cwd })
    else if (variable !== undefined) values[name] = check(envOf(name), key, { value: variable, base: cwd })
    else if (name in fromFile.values)
      values[name] = check(`${name} in ${fromFile.file}`, key, {
        value: fromFile.values[name],
        base: path.dirname(fromFile.file),
      })
    else values[name] = check(name, key, { value: key.default, base: cwd })
  }
  return Object.freeze(checkTogether(values as Config))
}

/** A list flag that was not given is empty. */
function isGiven(flag: unknown): boolean {
  return flag !== undefined && flag !== false && !(Array.isArray(flag) && flag.length === 0)
}

function readFile(file: string, isNamed: boolean): { file: string; values: Readonly<Record<string, unknown>> } {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    if (isMissing(cause) && !isNamed) return { file, values: {} }
    throw new AppError('invalid', `Cannot read the configuration file ${file}: ${(cause as Error).message}.`, { cause })
  }
  let values: unknown
  try {
    values = parseYaml(text) ?? {}
  } catch (cause) {
    if (!(cause instanceof YAMLParseError)) throw cause
    // Its first line; a drawing of the place follows.
    const what = cause.message.split('\n')[0]?.replace(/:$/, '')
    throw new AppError('invalid', `Cannot read the configuration file ${file}: ${what}.`, { cause })
  }
  if (typeof values !== 'object' || values === null || Array.isArray(values))
    throw new AppError('invalid', `Cannot read the configuration file ${file}: must be lines like "port: 8080".`)
  for (const name of Object.keys(values))
    if (!Object.hasOwn(configKeys, name)) throw unknown(`key "${name}" in ${file}`, name, Object.keys(configKeys))
  return { file, values: values as Record<string, unknown> }
}

function refuseUnknownEnv(env: ConfigSources['env'], names: readonly ConfigName[]): void {
  const known = names.map(envOf)
  for (const name of Object.keys(env))
    if (name.startsWith('HEARTH_') && !known.includes(name) && !otherEnv.test(name))
      throw unknown(`environment variable ${name}`, name, known)
}

function unknown(what: string, name: string, known: readonly string[]): AppError {
  const close = nearest(name, known)
  const advice = close === undefined ? `known are ${known.join(', ')}` : `did you mean ${close}?`
  return new AppError('invalid', `Unknown ${what}: ${advice}${advice.endsWith('?') ? '' : '.'}`, { field: name })
}

/** `value` in the type that `key` declares. Strings are accepted for every type, since flags and the environment have no other. */
function check(origin: string, key: ConfigKey, { value, base }: { value: unknown; base: string }): unknown {
  switch (key.type) {
    case 'integer': {
      const number = typeof value === 'string' && /^-?\d+$/.test(value) ? Number(value) : value
      if (Number.isSafeInteger(number) && Number(number) >= key.min && Number(number) <= key.max) return number
      throw invalid(origin, value, `a whole number from ${key.min} to ${key.max} (${key.unit})`)
    }
    case 'boolean':
      if (value === true || value === 'true' || value === '1') return true
      if (value === false || value === 'false' || value === '0' || value === '') return false
      throw invalid(origin, value, 'true or false')
    case 'choice':
      if (typeof value === 'string' && key.allowed.includes(value)) return value
      throw invalid(origin, value, `one of ${key.allowed.join(', ')}`)
    case 'list': {
      const list: unknown = typeof value === 'string' ? value.split(',').filter((item) => item !== '') : value
      if (Array.isArray(list) && list.every((item) => typeof item === 'string' && item !== '')) return list
      throw invalid(origin, value, 'a list of texts')
    }
    case 'text':
      if (typeof value === 'string' && (value !== '' || key.default === '')) return value
      throw invalid(origin, value, 'a text')
    default:
      if (typeof value === 'string') return value === '' ? '' : path.resolve(base, value)
      throw invalid(origin, value, 'a path')
  }
}

function checkTogether(config: Config): Config {
  if ((config.tlsCert === '') !== (config.tlsKey === ''))
    throw new AppError('invalid', 'Cannot serve HTTPS with one of --tls-cert and --tls-key alone: give both.', {
      field: 'tlsCert',
    })
  if (!isLoopback(config.host) && config.tlsCert === '' && !config.insecureListen)
    throw new AppError(
      'invalid',
      `Cannot listen on "${config.host}" without TLS: other machines reach it, and keys and payloads would cross the network readable. ` +
        'Give --tls-cert and --tls-key, or accept that with --insecure-listen.',
      { field: 'host', value: config.host },
    )
  return config
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
}
