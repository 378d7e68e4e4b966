import { mkdir, readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { CliError } from '../cli-error.ts'
import { defineCommand } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'
import { functionNameOf } from '../function-name.ts'
import { shellPath, shellWord } from '../shell-word.ts'
import { starters, type Starter, type StarterKind } from '../starters.ts'

export default defineCommand({
  name: 'init',
  summary: 'Write a starter function into a folder',
  notes: [
    'What it prints next deploys the starter; create and dev find out by themselves what kind of function a folder holds.',
  ],
  args: {
    kind: {
      about:
        'node, python, go or rust, or one version of them: node24, python3.12; provided (an executable bootstrap), http (a web server), azure (a custom handler), container (an image)',
    },
    folder: { about: 'where to write it; made if absent', completes: 'folder' },
  },
  flags: {},
  examples: ['hearth init node ./hello', 'hearth init python3.12 ./hello', 'hearth init http ./server'],
  async run({ output, cwd }, { args }) {
    const kind = kindOf(args.kind)
    const starter: Starter = starters[kind]
    const folder = path.resolve(cwd, args.folder)
    await mkdir(folder, { recursive: true })
    const files = { ...starter.files, 'event.json': '{ "name": "you" }\n' }
    await refuseOverwriting(folder, Object.keys(files))
    for (const [name, text] of Object.entries(files)) {
      await mkdir(path.dirname(path.join(folder, name)), { recursive: true })
      const mode = starter.executables?.includes(name) === true ? 0o755 : 0o644
      await writeFile(path.join(folder, name), text, { flag: 'wx', mode })
    }
    const name = functionNameOf(folder)
    const runtime = args.kind === kind || kind === 'container' ? '' : ` --runtime ${args.kind}`
    const code = `${shellPath(args.folder)}${runtime}`
    const next = [
      ...starter.next.map((line) => line.replaceAll('NAME', name).replaceAll('FOLDER', () => code)),
      `hearth function invoke ${name} --data ${shellWord(`@${path.join(args.folder, 'event.json')}`)}`,
      ...(kind === 'container' ? [] : [`hearth dev ${code}`]),
    ]
    if (output.isJson) return output.json({ folder, kind, files: Object.keys(files), next })
    output.line(`Wrote ${Object.keys(files).join(', ')} into ${folder}. Next:`)
    for (const line of next) output.line(`  ${line}`)
  },
})

/** Also under other names: a version of a language, `image` for what a container is started from. */
function kindOf(text: string): StarterKind {
  const family = /^(node|python|go|rust)(?:js)?[\d.]*x?$/.exec(text)?.[1] ?? /^(provided)\.al\d+$/.exec(text)?.[1]
  const name = family ?? (text === 'image' ? 'container' : text)
  if (isKind(name)) return name
  const kinds = Object.keys(starters).join(', ')
  throw new CliError(`Invalid kind "${text}": must be one of ${kinds}, or one version of a language.`)
}

function isKind(name: string): name is StarterKind {
  return Object.hasOwn(starters, name)
}

async function refuseOverwriting(folder: string, names: readonly string[]): Promise<void> {
  const there = await readdir(folder)
  const taken = names.find((name) => there.includes(name.split('/')[0] ?? name))
  // Beside an index.mjs a new index.js would be run in its place.
  const isRival = (name: string): boolean => names.includes('index.js') && /^index\.[cm]?[jt]s$/.test(name)
  const clash = taken ?? there.find(isRival)
  if (clash !== undefined)
    throw new CliError(`Cannot write a starter into ${folder}: "${clash}" is there already.`, {
      exitCode: exitCodes.conflict,
    })
}
