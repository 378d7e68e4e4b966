import { createHmac, timingSafeEqual } from 'node:crypto'

/* Takes webhooks as GitHub signs them: the header x-hub-signature-256 holds "sha256=" and the hex HMAC of the body. */

interface Env {
  readonly WEBHOOK_SECRET?: string
}

interface Context {
  waitUntil(work: Promise<unknown>): void
}

export default {
  async fetch(request: Request, env: Env, context: Context): Promise<Response> {
    if (request.method !== 'POST') return reply(405, 'Only POST is taken here.')
    if (env.WEBHOOK_SECRET === undefined) return reply(500, 'WEBHOOK_SECRET is not set.')
    const body = Buffer.from(await request.arrayBuffer())
    const signature = request.headers.get('x-hub-signature-256') ?? ''
    if (!isSigned(body, signature, env.WEBHOOK_SECRET)) return reply(401, 'The signature does not match the body.')
    // The sender is answered at once; the work goes on after.
    context.waitUntil(handle(body))
    return reply(202, 'Taken.')
  },
}

function isSigned(body: Buffer, signature: string, secret: string): boolean {
  const expected = Buffer.from(`sha256=${createHmac('sha256', secret).update(body).digest('hex')}`)
  const given = Buffer.from(signature)
  return given.length === expected.length && timingSafeEqual(given, expected)
}

async function handle(body: Buffer): Promise<void> {
  const event: unknown = JSON.parse(body.toString())
  console.log('event', event)
}

function reply(status: number, message: string): Response {
  return Response.json({ message }, { status })
}
