import { mkdir, readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { CliError } from '../cli-error.ts'
import { defineCommand } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'

interface Starter {
  readonly handler: string
  readonly files: Readonly<Record<string, string>>
}

const starters: Readonly<Record<'node' | 'python' | 'go' | 'rust', Starter>> = {
  node: {
    handler: 'index.handler',
    files: {
      'index.js': `exports.handler = async (event, context) => {
  console.log('hello from', context.functionName, 'version', context.functionVersion)
  return { greeting: \`Hello, \${event.name ?? 'world'}!\` }
}
`,
      'package.json': '{ "private": true, "type": "commonjs" }\n',
      '.hearthignore': 'event.json\n*.test.js\n.env\n',
    },
  },
  python: {
    handler: 'main.handler',
    files: {
      'main.py': `def handler(event, context):
    print("hello from", context.function_name, "version", context.function_version)
    return {"greeting": f"Hello, {event.get('name', 'world')}!"}
`,
      '.hearthignore': 'event.json\n__pycache__/\n*_test.py\n.venv/\n.env\n',
    },
  },
  go: {
    handler: 'main.Handler',
    files: {
      'main.go': `package main

import (
	"context"
	"fmt"
)

type Event struct {
	Name string \`json:"name"\`
}

type Reply struct {
	Greeting string \`json:"greeting"\`
}

func Handler(ctx context.Context, event Event) (Reply, error) {
	fmt.Println("hello from Go")
	return Reply{Greeting: "Hello, " + event.Name + "!"}, nil
}
`,
      'go.mod': 'module handler\n\ngo 1.21\n',
      '.hearthignore': 'event.json\n*_test.go\n.env\n',
    },
  },
  rust: {
    handler: 'main::handler',
    files: {
      'src/main.rs': `use hearth_runtime::Context;
use serde_json::{json, Value};

fn handler(event: Value, context: Context) -> Result<Value, String> {
    println!("hello from {} version {}", context.function_name, context.function_version);
    let name = event["name"].as_str().unwrap_or("world");
    Ok(json!({ "greeting": format!("Hello, {name}!") }))
}
`,
      'Cargo.toml':
        '[package]\nname = "handler"\nversion = "0.1.0"\nedition = "2021"\n\n[dependencies]\nserde_json = "1"\n',
      '.hearthignore': 'event.json\ntarget/\n.env\n',
    },
  },
}

export default defineCommand({
  name: 'init',
  summary: 'Write a starter function into a folder',
  args: {
    runtime: { about: 'node, python, go or rust, or one version of them: node24, python3.12' },
    folder: { about: 'where to write it; made if absent', completes: 'folder' },
  },
  flags: {},
  examples: ['hearth init node ./hello', 'hearth init python3.12 ./hello'],
  async run({ output, cwd }, { args }) {
    const [family = ''] = /^(node|python|go|rust)/.exec(args.runtime) ?? []
    const starter = isFamily(family) ? starters[family] : undefined
    if (starter === undefined || !/^(node|python|go|rust)(js)?[\d.]*(x)?$/.test(args.runtime))
      throw new CliError(`Invalid runtime "${args.runtime}": must be node, python, go, rust, or one version of them.`)
    const folder = path.resolve(cwd, args.folder)
    await mkdir(folder, { recursive: true })
    const files = { ...starter.files, 'event.json': '{ "name": "you" }\n' }
    await refuseOverwriting(folder, Object.keys(files))
    for (const [name, text] of Object.entries(files)) {
      await mkdir(path.dirname(path.join(folder, name)), { recursive: true })
      await writeFile(path.join(folder, name), text, { flag: 'wx' })
    }
    const name = path
      .basename(folder)
      .replaceAll(/[^A-Za-z0-9_-]/g, '-')
      .slice(0, 64)
    if (output.isJson)
      return output.json({ folder, runtime: args.runtime, handler: starter.handler, files: Object.keys(files) })
    output.line(`Wrote ${Object.keys(files).join(', ')} into ${folder}. Next:`)
    output.line(
      `  hearth function create --name ${name} --runtime ${args.runtime} --handler ${starter.handler} --code ${args.folder}`,
    )
    output.line(`  hearth function invoke ${name} --data @${path.join(args.folder, 'event.json')}`)
    output.line(`  hearth dev ${args.folder}`)
  },
})

function isFamily(name: string): name is keyof typeof starters {
  return name in starters
}

async function refuseOverwriting(folder: string, names: readonly string[]): Promise<void> {
  const there = await readdir(folder)
  const clash = names.find((name) => there.includes(name.split('/')[0] ?? name))
  if (clash !== undefined)
    throw new CliError(`Cannot write a starter into ${folder}: "${clash}" is there already.`, {
      exitCode: exitCodes.conflict,
    })
}
