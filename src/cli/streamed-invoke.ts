import type { HearthClient, InvokeOptions, InvokeResult, InvokeStream } from '@hearth/sdk'
import { buffer } from 'node:stream/consumers'
import { CliError } from './cli-error.ts'
import type { Context } from './context.ts'
import { exitCodeOf, exitCodes } from './exit-codes.ts'
import { bodyValue, invokeJson } from './invoke-json.ts'
import { formatMs, jsonText, type Output } from './output.ts'
import { renderReceipt } from './receipt.ts'
import { TextChunks, type TextChunk } from './text-chunks.ts'

export interface InvokeFlags {
  readonly 'content-type'?: string | undefined
  readonly timeout?: number | undefined
  readonly log: boolean
  readonly tail: boolean
  readonly receipt: boolean
}

export function invokeOptions(flags: Pick<InvokeFlags, 'content-type' | 'timeout'>): InvokeOptions {
  return {
    ...(flags['content-type'] !== undefined && { contentType: flags['content-type'] }),
    ...(flags.timeout !== undefined && { timeoutMs: flags.timeout * 1_000 }),
  }
}

interface Asked {
  readonly name: string
  readonly data: Uint8Array | string
  readonly flags: InvokeFlags
}

/** `hearth function invoke --stream`: what comes goes to stdout at once, and no further piece is asked for before it has taken the last. */
export async function invokeStreamed(
  context: Pick<Context, 'output' | 'client'>,
  { name, data, flags }: Asked,
): Promise<number> {
  const { output } = context
  if (flags.log || flags.tail) throw new CliError('--stream has no log beside the result: leave --log and --tail out.')
  const client = await context.client()
  const startedAt = performance.now()
  const reply = await client.invokeStream(name, data, invokeOptions(flags))
  const outcome = await (output.isJson ? printLines : printAll)({ client, reply, output, startedAt })
  if (flags.receipt) {
    const receipt = await client.getInvocation({ id: reply.invocationId })
    output.note(renderReceipt(receipt, { columns: output.columns, paint: output.paintNote }))
  } else if (!output.isJson) {
    const told = output.paintNote(outcome === 'succeeded' ? 'green' : 'red', outcome)
    output.note([told, formatMs(performance.now() - startedAt), reply.invocationId].join('  '))
  }
  return exitCodeOf(outcome)
}

interface Coming {
  readonly client: HearthClient
  readonly reply: InvokeStream
  readonly output: Output
  /** `performance.now()`. */
  readonly startedAt: number
}

/** The bytes as they are; returns the outcome. */
async function printAll({ client, reply, output }: Coming): Promise<string> {
  const isWhole = await eachPart(reply, async (part) => output.resultPart(part))
  const { outcome } = reply
  if (isWhole || isFailure(outcome)) return outcome ?? 'succeeded'
  return (await brokenEnd(client, reply)).outcome
}

/** A JSON object a line: each part as `chunk`, then what became of the invocation; returns the outcome. */
async function printLines({ client, reply, output, startedAt }: Coming): Promise<string> {
  const { outcome, headers } = reply
  const whole = { ...reply, effect: headers.get('hearth-effect') ?? 'completed', logTail: null }
  const last = (end: Ending): string => {
    const { result, ...facts } = end
    const told = invokeJson({ ...whole, ...facts }, performance.now() - startedAt)
    output.json({ ...told, ...(result !== undefined && { result }) }, { line: true })
    return end.outcome
  }
  // What comes then is not a result but what went wrong, whole.
  if (isFailure(outcome)) return last({ outcome, result: bodyValue(await buffer(reply.body), headers) })
  const chunks = new TextChunks()
  const print = async (chunk: TextChunk | null): Promise<void> =>
    chunk === null ? undefined : output.resultPart(Buffer.from(jsonText(chunk)))
  const isWhole = await eachPart(reply, async (part) => print(chunks.next(part)))
  await print(chunks.end())
  return last(isWhole ? { outcome: 'succeeded' } : await brokenEnd(client, reply))
}

interface Ending extends Pick<InvokeResult, 'outcome'>, Partial<Pick<InvokeResult, 'effect' | 'functionError'>> {
  readonly result?: unknown
}

/** It was known before the first byte. */
function isFailure(outcome: string | null): outcome is string {
  return outcome !== null && outcome !== 'succeeded'
}

/** False when the connection broke off before the end. */
async function eachPart({ body }: InvokeStream, take: (part: Uint8Array) => Promise<void>): Promise<boolean> {
  const parts = body[Symbol.asyncIterator]()
  for (;;) {
    const part = await parts.next().catch(() => null)
    if (part === null) return false
    if (part.done === true) return true
    await take(part.value)
  }
}

/** The connection broke off: the platform knows why, unless it is what broke. Throws CliError where the invocation was not why: what came is not the
 *  whole of a result that was good. */
async function brokenEnd(client: HearthClient, { invocationId }: InvokeStream): Promise<Ending> {
  const broke = 'The connection broke off before the whole result had come'
  const { outcome, effect, error } = await client.getInvocation({ id: invocationId }).catch((cause: Error) => {
    // The key may invoke and not read, or there is no platform any more.
    const message = `${broke}, and what became of invocation ${invocationId} cannot be asked: ${cause.message}`
    throw new CliError(message, { exitCode: exitCodes.internal })
  })
  if (outcome === 'succeeded')
    throw new CliError(`${broke}, and invocation ${invocationId} succeeded.`, {
      exitCode: exitCodes.internal,
      hint: 'Call it again, unless it must not run twice; without --stream a result comes whole or not at all.',
    })
  return { outcome: outcome ?? 'cancelled', effect, functionError: typeOfError(error), result: error }
}

function typeOfError(error: unknown): string | null {
  if (typeof error !== 'object' || error === null || !('errorType' in error)) return null
  return typeof error.errorType === 'string' ? error.errorType : null
}
