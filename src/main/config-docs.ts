import { configKeys, envOf, flagOf, type ConfigKey } from './config-keys.ts'

/** docs/reference/configuration.md, printed from the settings themselves. */
export function configurationPage(): string {
  const rows = Object.entries(configKeys).map(([name, key]: [string, ConfigKey]) => {
    const cells = [`\`${name}\``, `\`--${flagOf(name)}\``, `\`${envOf(name)}\``, defaultOf(key), unitOf(key), key.about]
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  })
  return `# Configuration

Flags of \`hearth up\`, over environment variables, over \`hearth.yaml\` (in the current folder, or named by \`--config\` or \`HEARTH_CONFIG\`), over defaults. Read once at start;
an unknown name is refused with the nearest known one. Relative paths in \`hearth.yaml\` are taken from its own folder. This page is printed from \`src/main/config-keys.ts\`.

| key in hearth.yaml | flag | environment | default | unit or values | meaning |
|---|---|---|---|---|---|
${rows.join('\n')}

## A hearth.yaml with every key

\`\`\`yaml
${sampleFile()}\`\`\`
`
}

/** A hearth.yaml in which every key is commented out and set to its default. */
export function sampleFile(): string {
  return Object.entries(configKeys)
    .filter(([, key]: [string, ConfigKey]) => key.isPerStart !== true)
    .map(([name, key]: [string, ConfigKey]) => {
      const unit = unitOf(key)
      return `# ${key.about}${unit === '' ? '' : ` (${unit})`}\n# ${name}: ${sampleOf(key)}\n`
    })
    .join('\n')
}

function sampleOf({ type, default: value }: ConfigKey): string {
  if (type === 'list') return '[]'
  return value === '' ? "''" : String(value)
}

function defaultOf(key: ConfigKey): string {
  if ('defaultText' in key && key.defaultText !== undefined) return key.defaultText.replaceAll(/<|>/g, '`')
  const text = key.default.toString()
  return text === '' ? 'none' : `\`${text}\``
}

function unitOf(key: ConfigKey): string {
  if (key.type === 'integer') return `${key.unit}, ${key.min}-${key.max}`
  if (key.type === 'choice') return key.allowed.join(', ')
  if (key.type === 'list') return `list of ${key.value}, with commas in the environment`
  return key.type === 'boolean' ? 'true, false' : ''
}
