import type { HearthClient, InvokeOptions, InvokeStream } from '@hearth/sdk'
import { CliError } from './cli-error.ts'
import type { Context } from './context.ts'
import { exitCodeOf } from './exit-codes.ts'
import { formatMs, type Output } from './output.ts'
import { renderReceipt } from './receipt.ts'

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
export async function invokeStreamed(context: Context, { name, data, flags }: Asked): Promise<number> {
  const { output } = context
  if (output.isJson || flags.log || flags.tail)
    throw new CliError('--stream prints the result alone: leave --json, --log and --tail out.')
  const client = await context.client()
  const startedAt = performance.now()
  const reply = await client.invokeStream(name, data, invokeOptions(flags))
  const isWhole = await printAll(reply, output)
  const outcome = reply.outcome ?? (isWhole ? 'succeeded' : await outcomeOf(client, reply))
  if (flags.receipt) {
    const receipt = await client.getInvocation({ id: reply.invocationId })
    output.note(renderReceipt(receipt, { columns: output.columns, paint: output.paintNote }))
  } else {
    const told = output.paintNote(outcome === 'succeeded' ? 'green' : 'red', outcome)
    output.note([told, formatMs(performance.now() - startedAt), reply.invocationId].join('  '))
  }
  return exitCodeOf(outcome)
}

/** False when the connection broke off before the end. */
async function printAll({ body }: InvokeStream, output: Output): Promise<boolean> {
  const parts = body[Symbol.asyncIterator]()
  for (;;) {
    const part = await parts.next().catch(() => null)
    if (part === null) return false
    if (part.done === true) return true
    await output.resultPart(part.value)
  }
}

/** The connection broke off: the platform knows why, unless it is what broke. */
async function outcomeOf(client: HearthClient, { invocationId }: InvokeStream): Promise<string> {
  const { outcome } = await client.getInvocation({ id: invocationId })
  return outcome ?? 'cancelled'
}
