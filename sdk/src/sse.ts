/** One event of a `text/event-stream` reply. */
export interface ServerEvent {
  readonly id: string | null
  /** `message` unless named. */
  readonly type: string
  /** Empty for one that only tells where the stream begins. */
  readonly data: string
}

/** Events of a streamed reply, comments skipped; ends with the stream. Source: WHATWG HTML, server-sent events. */
export async function* readEvents(reply: Response): AsyncIterable<ServerEvent> {
  if (reply.body === null) return
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of reply.body) {
    const blocks = (rest + decoder.decode(chunk, { stream: true })).split(/\r?\n\r?\n/)
    rest = blocks.pop() ?? ''
    for (const block of blocks) {
      const event = parseEvent(block)
      if (event !== null) yield event
    }
  }
}

function parseEvent(block: string): ServerEvent | null {
  const fields = block.split(/\r?\n/).filter((line) => line !== '' && !line.startsWith(':'))
  const data = fields.filter((line) => line.startsWith('data:')).map((line) => line.slice(5).replace(/^ /, ''))
  const id = fields.find((line) => line.startsWith('id:'))
  const type = fields.find((line) => line.startsWith('event:'))
  if (data.length === 0 && id === undefined) return null
  return {
    id: id === undefined ? null : id.slice(3).trim(),
    type: type === undefined ? 'message' : type.slice(6).trim(),
    data: data.join('\n'),
  }
}
