import type { Control } from '../domain/control.ts'
import { artifactOf } from './code-source.ts'
import { streamed, type Call } from './call.ts'
import { watchStream } from './stream-watch.ts'

interface BuildBody {
  readonly artifact: string
  readonly runtime: string
  readonly handler?: string
  readonly arch?: string
}

/** Answers with server-sent events: a line each as the compiler prints them, then `built` or `failed`. */
export async function streamBuild(
  { builds, keys }: Pick<Control, 'builds' | 'keys'>,
  call: Call,
): Promise<typeof streamed> {
  const { response } = call.raw
  const { artifact, runtime, handler = '', arch } = call.body as BuildBody
  const source = artifactOf(artifact)
  let hasBegun = false
  const send = (event: unknown): void => {
    if (!hasBegun) response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    hasBegun = true
    response.write(`data: ${JSON.stringify(event)}\n\n`)
  }
  const stream = await watchStream(response, async (ended) => keys.watch(call.caller, ended))
  const watch = { report: (line: string) => send({ line }), signal: stream.signal }
  try {
    const built = await builds.build(call.caller, { source, runtime, handler, arch }, watch)
    send({ built: { artifact: built.artifact.digest, bytes: built.artifact.bytes, provenance: built.provenance } })
  } catch (thrown) {
    const error = stream.reasonOf(thrown)
    // What is refused before it began still has a status.
    if (!hasBegun) throw error
    if (error.code === 'internal' || error.code === 'driver_failed') call.onLateError(thrown)
    const { code, message, field } = error
    send({ failed: { code, message, ...(field !== undefined && { field }) } })
  } finally {
    stream.end()
  }
  response.end()
  return streamed
}
