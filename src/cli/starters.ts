/** What `hearth init` writes. */
export interface Starter {
  readonly files: Readonly<Record<string, string>>
  /** Of the files, those to be executable. */
  readonly executables?: readonly string[]
  /** What to type next, with NAME and FOLDER in it. */
  readonly next: readonly string[]
}

const create = 'hearth function create --name NAME --code FOLDER'

/** By kind. A version of a language is deployed with `--runtime`; everything else is inferred. */
export const starters = {
  node: {
    next: [create],
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
    next: [create],
    files: {
      'main.py': `def handler(event, context):
    print("hello from", context.function_name, "version", context.function_version)
    return {"greeting": f"Hello, {event.get('name', 'world')}!"}
`,
      '.hearthignore': 'event.json\n__pycache__/\n*_test.py\n.venv/\n.env\n',
    },
  },
  go: {
    next: [create],
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
    next: [create],
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
  provided: {
    next: [create],
    executables: ['bootstrap'],
    files: {
      bootstrap: `#!/bin/bash
# Any executable can be a function: it asks Lambda's Runtime API for an invocation, answers it, and asks again. This one needs bash alone.
set -euo pipefail
export LC_ALL=C

# call METHOD PATH BODY: sends a request; the invocation's id is in $id afterwards, the answer's body in $reply.
call() {
  local line bytes=0
  exec 3<>"/dev/tcp/\${AWS_LAMBDA_RUNTIME_API%:*}/\${AWS_LAMBDA_RUNTIME_API##*:}"
  printf '%s /2018-06-01/runtime/%s HTTP/1.1\\r\\nHost: runtime\\r\\nContent-Length: %d\\r\\n\\r\\n%s' "$1" "$2" "\${#3}" "$3" >&3
  while IFS= read -r line <&3 && line=\${line%$'\\r'} && [ -n "$line" ]; do
    case \${line,,} in
      lambda-runtime-aws-request-id:*) id=\${line#*: } ;;
      content-length:*) bytes=\${line#*: } ;;
    esac
  done
  reply=$(head -c "$bytes" <&3)
  exec 3>&-
}

while true; do
  call GET invocation/next ''
  name=$(sed -n 's/.*"name" *: *"\\([^"]*\\)".*/\\1/p' <<<"$reply")
  echo "hello from bash"
  call POST "invocation/$id/response" "{\\"greeting\\":\\"Hello, \${name:-world}!\\"}"
done
`,
      '.hearthignore': 'event.json\n.env\n',
    },
  },
  http: {
    next: [`${create} --instance-concurrency 10`, 'hearth function url create NAME --auth none'],
    files: {
      'server.js': `const { createServer } = require('node:http')

// Any program that listens on $PORT. Through the API an event is the body of POST /; at a URL of its own it gets each request as it is.
const server = createServer((request, response) => {
  let body = ''
  request.setEncoding('utf8').on('data', (chunk) => (body += chunk))
  request.on('end', () => {
    console.log(request.method, request.url)
    const { name = 'world' } = body === '' ? {} : JSON.parse(body)
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ greeting: \`Hello, \${name}!\` }))
  })
})
server.listen(Number(process.env.PORT ?? 8080))
process.on('SIGTERM', () => server.close())
`,
      'package.json': '{ "private": true, "type": "commonjs", "scripts": { "start": "node server.js" } }\n',
      '.hearthignore': 'event.json\n*.test.js\n.env\n',
    },
  },
  azure: {
    next: [create],
    files: {
      'host.json': `{
  "version": "2.0",
  "customHandler": {
    "description": { "defaultExecutablePath": "node", "arguments": ["server.js"] },
    "enableForwardingHttpRequest": false
  }
}
`,
      'hello/function.json': `{
  "bindings": [
    { "type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous", "methods": ["get", "post"] },
    { "type": "http", "direction": "out", "name": "res" }
  ]
}
`,
      'server.js': `const { createServer } = require('node:http')
const { json } = require('node:stream/consumers')

// A custom handler of Azure Functions: POST /hello with the trigger's data; what it answers is in Outputs, under the names of function.json.
createServer(async (request, response) => {
  const { Data } = await json(request)
  const { name = 'world' } = JSON.parse(Data.req.Body || '{}')
  const headers = { 'content-type': 'application/json' }
  const res = { statusCode: 200, headers, body: JSON.stringify({ greeting: \`Hello, \${name}!\` }) }
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ Outputs: { res }, Logs: [\`hello from \${request.url}\`], ReturnValue: null }))
}).listen(Number(process.env.FUNCTIONS_CUSTOMHANDLER_PORT))
`,
      'package.json': '{ "private": true, "type": "commonjs" }\n',
      '.hearthignore': 'event.json\n.env\n',
    },
  },
  container: {
    next: [
      'docker build -t NAME FOLDER && docker save NAME -o NAME.tar    # or podman, buildah, kaniko: any image will do',
      'hearth function create --name NAME --image ./NAME.tar',
    ],
    files: {
      Dockerfile: `FROM node:24-slim
WORKDIR /app
COPY server.js .
CMD ["node", "server.js"]
`,
      'server.js': `const { createServer } = require('node:http')

// Any program that listens on $PORT; only /tmp can be written to.
createServer((request, response) => {
  let body = ''
  request.setEncoding('utf8').on('data', (chunk) => (body += chunk))
  request.on('end', () => {
    const { name = 'world' } = body === '' ? {} : JSON.parse(body)
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ greeting: \`Hello, \${name}!\` }))
  })
}).listen(Number(process.env.PORT ?? 8080))
`,
    },
  },
} as const satisfies Record<string, Starter>

export type StarterKind = keyof typeof starters
