import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { FunctionError } from '../../src/domain/invocation.ts'
import type { BindMessage } from '../../src/wire/messages.ts'
import { codeFolder, InitFailed, Subject } from './subject.ts'

type Files = Readonly<Record<string, string | Buffer>>

export interface Harness {
  /** A runtime that said nothing yet. */
  readonly spawn: () => Subject
  /** A runtime with `files` as its code, ready; throws InitFailed. */
  readonly start: (files: Files, handler?: string, rest?: Partial<BindMessage>) => Promise<Subject>
  /** The failure of a start that must fail. */
  readonly startFailure: (files: Files, handler?: string) => Promise<InitFailed['failure']>
}

/** Starts runtimes by `command`; all of them end with the test file. */
export function runtimeHarness(command: readonly string[], defaultHandler: string): Harness {
  const subjects: Subject[] = []
  after(() => {
    for (const subject of subjects) subject.stop()
  })
  const spawn = (): Subject => {
    const subject = new Subject(command)
    subjects.push(subject)
    return subject
  }
  const start: Harness['start'] = async (files, handler = defaultHandler, rest = {}) => {
    const subject = spawn()
    await subject.bind(codeFolder(files), handler, rest)
    return subject
  }
  return {
    spawn,
    start,
    async startFailure(files, handler) {
      const error: unknown = await start(files, handler).then(
        () => null,
        (reason: unknown) => reason,
      )
      assert.ok(error instanceof InitFailed, String(error))
      return error.failure
    },
  }
}

export interface Starts {
  /** What is found: its name, the handler, the code; the handler answers "ok". */
  readonly found: readonly (readonly [string, string, Files])[]
  /** What fails: its name, the handler, the code, the type of the error and its message. */
  readonly failing: readonly (readonly [string, string, Files, string, RegExp])[]
}

/** One test for each way to start, well or not. */
export function testStarts({ start, startFailure }: Harness, { found, failing }: Starts): void {
  for (const [what, handler, files] of found)
    test(`finds ${what}`, async () => {
      assert.equal(await (await start(files, handler)).json(), 'ok')
    })
  for (const [what, handler, files, type, message] of failing)
    test(`fails by ${type} for ${what}`, async () => {
      const failure = await startFailure(files, handler)
      assert.equal(failure.errorType, type)
      assert.match(failure.errorMessage, message)
      assert.equal(failure.phase, 'code_load')
    })
}

/** The error of an invocation that must fail. */
export async function failureOf(subject: Subject, event: unknown): Promise<FunctionError> {
  const { error } = await subject.call(event)
  assert.ok(error !== null)
  return error
}

/** The bytes of an answer to a reader who takes 1 ms for each piece; never more than the window was on its way. */
export async function readSlowly(subject: Subject, event: unknown): Promise<number> {
  let peakBytes = 0
  let waitingBytes = 0
  const answer = await subject.call(event, {
    onData: async (chunk) => {
      waitingBytes += chunk.length
      peakBytes = Math.max(peakBytes, waitingBytes)
      await delay(1)
      waitingBytes -= chunk.length
    },
  })
  assert.ok(peakBytes <= 262_144, `${peakBytes} bytes on their way`)
  return answer.body.length
}
