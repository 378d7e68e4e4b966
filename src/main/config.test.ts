import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { parse } from 'yaml'
import { readConfig, type ConfigSources } from './config.ts'
import { sampleFile } from './config-docs.ts'
import { configKeys } from './config-keys.ts'
import { originSettings } from './origin-settings.ts'

const folder = mkdtempSync(path.join(os.tmpdir(), 'hearth-config-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const nothing: ConfigSources = { flags: {}, env: {}, cwd: folder, file: undefined }

function yamlFile(text: string): string {
  const file = path.join(folder, `${Math.random().toString(36).slice(2)}.yaml`)
  writeFileSync(file, text)
  return file
}

test('readConfig: flags over environment over file over defaults', () => {
  const file = yamlFile('port: 1\ndrainMs: 7\nlogLevel: debug\n')
  const config = readConfig({
    ...nothing,
    file,
    flags: { port: '3' },
    env: { HEARTH_PORT: '2', HEARTH_LOG_LEVEL: 'warn' },
  })
  assert.equal(config.port, 3)
  assert.equal(config.logLevel, 'warn')
  assert.equal(config.drainMs, 7)
  assert.equal(config.host, '127.0.0.1')
  assert.equal(config.data, path.join(folder, '.hearth'))
  assert.ok(Object.isFrozen(config))
})

test('readConfig: relative paths are taken from where they were written', () => {
  const config = readConfig({
    ...nothing,
    cwd: '/elsewhere',
    file: yamlFile('data: d\n'),
    flags: { 'ready-file': 'r' },
  })
  assert.equal(config.data, path.join(folder, 'd'))
  assert.equal(config.readyFile, '/elsewhere/r')
})

test('readConfig: lists are flags given several times, commas in the environment, lists in the file', () => {
  const file = yamlFile('insecureRegistry: [a.lan]\n')
  const read = (flags: readonly string[], variable?: string): readonly string[] => {
    const env = variable === undefined ? {} : { HEARTH_INSECURE_REGISTRY: variable }
    return readConfig({ ...nothing, file, flags: { 'insecure-registry': flags }, env }).insecureRegistry
  }
  assert.deepEqual(read([]), ['a.lan'])
  assert.deepEqual(read([], 'b.lan:5000,c.lan'), ['b.lan:5000', 'c.lan'])
  assert.deepEqual(read(['d.lan', 'e.lan'], 'b.lan'), ['d.lan', 'e.lan'])
  assert.deepEqual(readConfig(nothing).insecureRegistry, [])
})

test('originSettings: a registry is HOST or HOST:PORT', () => {
  const settings = (registry: string): readonly string[] =>
    originSettings({ ...readConfig(nothing), insecureRegistry: [registry] }).insecureRegistries
  assert.deepEqual(settings('Registry.lan:5000'), ['registry.lan:5000'])
  for (const bad of ['http://registry.lan', 'registry', 'registry.lan/team', 'a b.lan', ''])
    assert.throws(() => settings(bad), /Invalid insecureRegistry ".*": must be HOST or HOST:PORT/, bad)
})

const refusals: readonly [string, Partial<ConfigSources>, RegExp][] = [
  ['unknown key', { file: yamlFile('prot: 1\n') }, /^Unknown key "prot" in .*: did you mean port\?$/],
  [
    'unknown variable',
    { env: { HEARTH_POOLSIZE: '1' } },
    /^Unknown environment variable HEARTH_POOLSIZE: did you mean HEARTH_POOL_SIZE\?$/,
  ],
  [
    'no list',
    { file: yamlFile('insecureRegistry: [1]\n') },
    /^Invalid insecureRegistry in .*: must be a list of texts/,
  ],
  [
    'out of range',
    { flags: { port: '70000' } },
    /^Invalid --port "70000": must be a whole number from 0 to 65535 \(port\)\.$/,
  ],
  ['wrong type in the file', { file: yamlFile('port: [1]\n') }, /^Invalid port in .* \[1\]: must be a whole number/],
  [
    'not a choice',
    { env: { HEARTH_DRIVER: 'vm' } },
    /^Invalid HEARTH_DRIVER "vm": must be one of auto, process, firecracker, qemu\.$/,
  ],
  ['half of TLS', { flags: { 'tls-cert': 'c.pem' } }, /give both/],
  ['open address', { flags: { host: '0.0.0.0' } }, /^Cannot listen on "0\.0\.0\.0" without TLS/],
  ['broken file', { file: yamlFile('a: [\n') }, /^Cannot read the configuration file .* at line 2, column 1\.$/],
  ['absent file that was named', { file: 'nowhere.yaml' }, /^Cannot read the configuration file .*nowhere\.yaml/],
]
for (const [title, sources, message] of refusals)
  test(`readConfig: refuses ${title}`, () => {
    assert.throws(
      () => readConfig({ ...nothing, ...sources }),
      (error: Error & { code?: string }) => error.code === 'invalid' && message.test(error.message),
    )
  })

test('readConfig: an open address is fine with TLS or when accepted; other HEARTH_ names are no settings', () => {
  const open = { host: '0.0.0.0', 'insecure-listen': true }
  const env = { HEARTH_URL: 'x', HEARTH_API_KEY: 'x', HEARTH_TEST_SEED: '1' }
  assert.equal(readConfig({ ...nothing, flags: open, env }).insecureListen, true)
  const tls = { host: '0.0.0.0', 'tls-cert': 'c', 'tls-key': 'k' }
  assert.equal(readConfig({ ...nothing, flags: tls }).tlsKey, path.join(folder, 'k'))
})

test('sampleFile: uncommented, it is a valid file of defaults', () => {
  const text = sampleFile().replaceAll(/^# (\w+: .*)$/gm, (line, setting: string) =>
    /^\w+: \S*$/.test(setting) ? setting : line,
  )
  assert.equal(Object.keys(parse(text) as object).length, Object.keys(configKeys).length - 1, 'all but readyFile')
  assert.deepEqual(readConfig({ ...nothing, file: yamlFile(text) }), readConfig(nothing))
})
