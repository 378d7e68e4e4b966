import type { InvokeResult } from '@hearth/sdk'
import { defineCommand } from '../command.ts'
import { exitCodeOf } from '../exit-codes.ts'
import { bodyValue, invokeJson } from '../invoke-json.ts'
import { formatMs, type Output } from '../output.ts'
import { readData } from '../read-input.ts'
import { renderReceipt } from '../receipt.ts'
import { invokeOptions, invokeStreamed } from '../streamed-invoke.ts'

export default defineCommand({
  name: 'function invoke',
  summary: 'Call a function and print its result',
  notes: [
    'The result alone goes to stdout; outcome, start, duration and invocation id go to stderr. The exit code says how it ended: 1 when the function threw, 6 refused, 7 timed out, 8 crashed.',
    'With --stream and --json each part of the result is a line {"chunk": TEXT}, or {"chunk": BASE64, "isBase64": true} where it is no UTF-8; a character that was cut comes whole, with the next part. The last line, which has "outcome", is what --json prints without --stream, with "result" only where it failed: the error, in place of chunks or after those that had come.',
    'A streamed result of which the end is missing, because the connection broke off, is exit code 9, with --json without a last line: what came is not the whole.',
  ],
  args: { name: { about: 'NAME or NAME:QUALIFIER (a version number, an alias or $LATEST)', completes: 'function' } },
  flags: {
    data: {
      type: 'text',
      value: 'JSON|@FILE|-',
      about: 'event; from a file with @, from stdin with -; default: {}',
      completes: 'file',
    },
    'content-type': {
      type: 'text',
      value: 'TYPE',
      about: 'type of the data (default: application/json); others reach the function as raw bytes',
    },
    timeout: {
      type: 'integer',
      value: 'S',
      about: 'give up after so long, at most the time limit of the function',
      min: 1,
    },
    stream: {
      type: 'boolean',
      about:
        'print the result as it comes, byte for byte as the function sends it; with --json as lines of JSON; not with --log or --tail',
    },
    log: { type: 'boolean', about: 'print the last 4 KiB of its log to stderr' },
    tail: { type: 'boolean', about: 'the same' },
    receipt: { type: 'boolean', about: 'print the receipt to stderr: where each millisecond went' },
  },
  examples: [
    `hearth function invoke process-image --data '{"image": "photo.jpg", "width": 800}'`,
    'hearth function invoke process-image:3 --data @event.json > result.json',
    'hearth function invoke chat --data @question.json --stream --json | jq --unbuffered .chunk',
    'cat photo.jpg | hearth function invoke resize --data - --content-type image/jpeg > small.jpg',
  ],
  async run(context, { args, flags }) {
    const { output } = context
    const client = await context.client()
    const data = await readData(flags.data, context)
    if (flags.stream) return invokeStreamed(context, { name: args.name, data, flags })
    const startedAt = performance.now()
    output.status(`invoking ${args.name} ...`)
    const reply = await client
      .invoke(args.name, data, {
        wantLogTail: flags.log || flags.tail,
        ...invokeOptions(flags),
      })
      .finally(() => output.status(''))
    const roundTripMs = performance.now() - startedAt
    if (output.isJson) output.json({ ...invokeJson(reply, roundTripMs), result: bodyValue(reply.body, reply.headers) })
    else printResult(output, reply)
    if (reply.logTail !== null && !output.isJson) output.note(output.paintNote('gray', reply.logTail.trimEnd()))
    if (flags.receipt && reply.invocationId !== '') {
      const receipt = await client.getInvocation({ id: reply.invocationId })
      output.note(renderReceipt(receipt, { columns: output.columns, paint: output.paintNote }))
    } else if (!output.isJson) output.note(summary(output, reply, roundTripMs))
    return exitCodeOf(reply.outcome)
  },
})

function printResult(output: Output, { body }: InvokeResult): void {
  output.result(body)
  if (output.isTerminal && body.length > 0 && body.at(-1) !== 0x0a) output.result('\n')
}

function summary({ paintNote }: Output, reply: InvokeResult, roundTripMs: number): string {
  const outcome =
    reply.outcome === 'failed' && reply.functionError !== null ? `failed (${reply.functionError})` : reply.outcome
  const start = reply.start?.replace(/^cold;source=(\w+);cause=(\w+)$/, 'cold from $1 ($2)')
  const parts = [
    paintNote(reply.outcome === 'succeeded' ? 'green' : 'red', outcome),
    start,
    formatMs(roundTripMs),
    reply.version === null ? undefined : `version ${reply.version}`,
    reply.invocationId,
  ]
  return parts.filter((part) => part !== undefined && part !== '').join('  ')
}
