import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { failureOf, readSlowly } from './support/harness.ts'
import { goProgram, nativeDoor, rustProgram, toolMissing } from './support/native.ts'
import { python, pythonMissing } from './support/runtimes.ts'
import { InitFailed, Subject } from './support/subject.ts'

/* Go and Rust programs that speak frames, as real processes without a sandbox. Each handler takes {do: ...}. */

const go = `package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	hearth "hearth.dev/runtime"
)

type event struct {
	Do    string
	Bytes int64
}

type zeros struct{}

func (zeros) Read(target []byte) (int, error) { clear := target; for i := range clear { clear[i] = 0 }; return len(target), nil }

func handle(ctx context.Context, e event) (interface{}, error) {
	switch e.Do {
	case "context":
		about, _ := hearth.FromContext(ctx)
		deadline, _ := ctx.Deadline()
		left := time.Until(deadline)
		return map[string]interface{}{"id": about.RequestID, "function": about.FunctionName, "memory": about.MemoryMiB, "hasTime": left > 10*time.Second && left < time.Minute, "own": os.Getenv("OWN"), "bind": os.Getenv("HEARTH_BIND")}, nil
	case "fail":
		return nil, fmt.Errorf("wrapped: %w", errors.New("no such order"))
	case "panic":
		panic("broken \\u00e9")
	case "stream":
		return io.LimitReader(zeros{}, e.Bytes), nil
	case "wait":
		<-ctx.Done()
		return ctx.Err().Error(), nil
	case "bytes":
		return strings.Repeat("x", int(e.Bytes)), nil
	}
	return "ok", nil
}

func main() { hearth.Start(handle) }
`

const rust = `use hearth_runtime::{Context, Stream};
use serde_json::{json, Value};
use std::io::Read;

async fn handle(event: Value, context: Context) -> Result<Value, String> {
    match event["do"].as_str().unwrap_or("") {
        "context" => {
            let left = context.remaining().as_secs();
            Ok(json!({ "id": context.request_id, "function": context.function_name, "memory": context.memory_mib,
                "hasTime": left > 10 && left < 60, "own": std::env::var("OWN").ok(), "bind": std::env::var("HEARTH_BIND").unwrap_or_default() }))
        }
        "fail" => Err("no such order".into()),
        "panic" => panic!("broken \\u{e9}"),
        "bytes" => Ok(json!("x".repeat(event["bytes"].as_u64().unwrap() as usize))),
        _ => Ok(json!("ok")),
    }
}

fn stream(event: Value) -> Result<Stream, String> {
    Ok(Stream::new("text/plain", std::io::repeat(0).take(event["bytes"].as_u64().unwrap())))
}

fn double(event: Vec<u8>) -> Result<Vec<u8>, std::io::Error> {
    Ok([event.clone(), event].concat())
}

fn main() {
    match std::env::var("_HANDLER").as_deref() {
        Ok("main.stream") => hearth_runtime::run(stream),
        Ok("main.double") => hearth_runtime::run(double),
        _ => hearth_runtime::run(handle),
    }
}
`

const subjects: Subject[] = []
after(() => {
  for (const subject of subjects) subject.stop()
})

async function start(program: string, handler = 'main.handler'): Promise<Subject> {
  const subject = new Subject([python, nativeDoor, program])
  subjects.push(subject)
  await subject.bind('/tmp', handler, { env: { OWN: 'mine' } })
  return subject
}

const built = new Map<string, string>()
function program(language: 'go' | 'rust'): string {
  const known = built.get(language) ?? (language === 'go' ? goProgram(go) : rustProgram(rust))
  built.set(language, known)
  return known
}

const missing = { go: toolMissing('go') || pythonMissing, rust: toolMissing('cargo') || pythonMissing }

for (const language of ['go', 'rust'] as const) {
  const skip = missing[language]

  test(`a ${language} handler gets event and context, and answers in turn`, { skip }, async () => {
    const subject = await start(program(language))
    assert.equal(await subject.json({}), 'ok')
    assert.deepEqual(await subject.json({ do: 'context' }), {
      ...{ id: '0190-id', function: 'subject', memory: 256, hasTime: true },
      ...{ own: 'mine', bind: '' },
    })
    const long = await subject.json<string>({ do: 'bytes', bytes: 1_000_000 })
    assert.equal(long.length, 1_000_000)
  })

  test(`an error of a ${language} handler is FAIL, and the next invocation runs`, { skip }, async () => {
    const subject = await start(program(language))
    const failure = await failureOf(subject, { do: 'fail' })
    assert.match(failure.errorMessage, /no such order$/)
    assert.equal(failure.errorType, language === 'go' ? 'wrapError' : 'String')
    assert.equal(await subject.json({}), 'ok')
  })

  test(`a panic of a ${language} handler is FAIL with its place, then the end`, { skip }, async () => {
    const subject = await start(program(language))
    const failure = await failureOf(subject, { do: 'panic' })
    assert.equal(failure.errorMessage, 'broken \u{e9}')
    assert.match(failure.stackTrace.join('\n'), language === 'go' ? /main\.handle \(.*main\.go:\d+\)/ : /main\.rs:\d+/)
    assert.equal(await subject.exited, 1)
  })

  test(`a ${language} program ends at SHUTDOWN`, { skip }, async () => {
    const subject = await start(program(language))
    subject.link.shutdown(5_000)
    assert.notEqual(await subject.exited, 1)
  })

  test(`a stream of a ${language} handler waits for its reader`, { skip }, async () => {
    const subject = await start(program(language), 'main.stream')
    assert.equal(await readSlowly(subject, { do: 'stream', bytes: 2_000_000 }), 2_000_000)
  })

  test(`a ${language} program reads an event of 6 MB`, { skip }, async () => {
    const subject = await start(program(language))
    assert.equal(await subject.json({ do: 'none', filler: 'x'.repeat(6_000_000) }), 'ok')
  })
}

test('a Go handler hears of CANCEL by its context', { skip: missing.go }, async () => {
  const subject = await start(program('go'))
  const answer = await subject.call({ do: 'wait' }, { started: (stream) => stream.cancel('nobody waits') })
  assert.equal(answer.error, null)
  assert.equal(await subject.json({}), 'ok')
})

test('a Go function that is no handler fails the start and says why', { skip: missing.go }, async () => {
  const main = `package main\n\nimport hearth "hearth.dev/runtime"\n\nfunc main() { hearth.Start(func() string { return "" }) }\n`
  const error: unknown = await start(goProgram(main)).catch((thrown: unknown) => thrown)
  assert.ok(error instanceof InitFailed)
  assert.equal(error.failure.errorType, 'Runtime.InvalidHandler')
  assert.match(error.failure.errorMessage, /must be an error, not string/)
})

test('a Rust handler of bytes takes and gives them as they are', { skip: missing.rust }, async () => {
  const subject = await start(program('rust'), 'main.double')
  const bytes = Buffer.from([0, 255, 128])
  const { body, head } = await subject.call(bytes, { contentType: 'image/png' })
  assert.deepEqual(body, Buffer.concat([bytes, bytes]))
  assert.deepEqual(head?.headers, [['content-type', 'application/octet-stream']])
})

test('the Go twin keeps the golden vectors and takes every signature', { skip: missing.go }, () => {
  execFileSync('go', ['test', './...'], { cwd: path.join(import.meta.dirname, 'go'), stdio: 'pipe' })
})

test('the Rust twin keeps the golden vectors', { skip: missing.rust }, () => {
  const env = { ...process.env, CARGO_TARGET_DIR: path.join(os.tmpdir(), 'hearth-native-test') }
  const cwd = path.join(import.meta.dirname, 'rust')
  execFileSync('cargo', ['test', '--quiet'], { cwd, env, stdio: 'pipe' })
})
