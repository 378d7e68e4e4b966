import dgram from 'node:dgram'
import { promises as dns } from 'node:dns'
import net from 'node:net'
import { decode, encode, RECURSION_DESIRED, type Answer, type Packet } from 'dns-packet'
import type { Logger } from '../domain/logger.ts'
import { isOpenAddress } from '../domain/closed-ranges.ts'

/** Looks up the IPv4 addresses of a name. Rejects with an error whose `code` is node:dns's (`ENOTFOUND`, `ENODATA`, ...). */
export type Lookup = (name: string) => Promise<readonly { address: string; ttl: number }[]>

export interface Resolver {
  readonly port: number
  close(): Promise<void>
}

interface ResolverOptions {
  readonly logger: Logger
  /** Sources that may ask; anything else is dropped, so this is never an open resolver. Default: the sandboxes' range. */
  readonly isSandbox?: (address: string) => boolean
  readonly lookup?: Lookup
  /** Where to listen; default loopback, to which the launcher's rules translate what sandboxes ask. */
  readonly host?: string
}

const sandboxRange = new net.BlockList()
sandboxRange.addSubnet('100.64.0.0', 10, 'ipv4')

/** At most this many questions are looked up at a time; more are dropped, and a client asks again. */
const inFlightMax = 256
const ttlMaxSeconds = 60

/** The only name server a sandbox with egress can reach. Answers A questions by the machine's own resolver without addresses in closed ranges;
 *  AAAA is empty since IPv6 is closed; every other type is empty too. UDP alone: answers are kept below 512 bytes. */
export async function startResolver(options: ResolverOptions): Promise<Resolver> {
  const isSandbox = options.isSandbox ?? ((address) => sandboxRange.check(address, 'ipv4'))
  const lookup = options.lookup ?? systemLookup
  const socket = dgram.createSocket('udp4')
  let inFlight = 0
  socket.on('message', (message, from) => {
    if (!isSandbox(from.address) || inFlight >= inFlightMax) return
    const query = parseQuery(message)
    if (query === null) return
    inFlight++
    void answer(query, lookup, options.logger)
      .then((reply) => socket.send(encode(reply), from.port, from.address))
      .catch((error: unknown) => options.logger.warn('resolver.reply.failed', { error: String(error) }))
      .finally(() => inFlight--)
  })
  socket.on('error', (error) => options.logger.error('resolver.failed', { error: String(error) }))
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject)
    socket.bind(0, options.host ?? '127.0.0.1', () => {
      socket.off('error', reject)
      resolve()
    })
  })
  socket.unref()
  return { port: socket.address().port, close: async () => new Promise((resolve) => socket.close(() => resolve())) }
}

/** A standard query with one question, or null for anything that is not. */
function parseQuery(message: Buffer): Packet | null {
  if (message.length < 12 || message.length > 512) return null
  try {
    const packet = decode(message)
    return packet.type === 'query' && packet.questions?.length === 1 ? packet : null
  } catch {
    // Not DNS: a sandbox may send anything, and silence is the answer to noise.
    return null
  }
}

async function answer(query: Packet, lookup: Lookup, logger: Logger): Promise<Packet> {
  const question = query.questions?.[0]
  const reply: Packet = {
    type: 'response',
    id: query.id ?? 0,
    flags: RECURSION_DESIRED | 0x80,
    questions: query.questions ?? [],
    answers: [],
  }
  if (question?.type !== 'A') return reply
  try {
    const found = await lookup(question.name)
    const open = found.filter((record) => isOpenAddress(record.address))
    if (open.length < found.length)
      logger.info('resolver.answer.dropped', { name: question.name, droppedCount: found.length - open.length })
    const answers: Answer[] = open.slice(0, 16).map((record) => ({
      type: 'A',
      class: 'IN',
      name: question.name,
      ttl: Math.min(record.ttl, ttlMaxSeconds),
      data: record.address,
    }))
    return { ...reply, answers }
  } catch (error) {
    return { ...reply, flags: (reply.flags ?? 0) | rcodeOf(error) }
  }
}

/** NOERROR for a name without addresses, NXDOMAIN for one that does not exist, else SERVFAIL. */
function rcodeOf(error: unknown): number {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'ENODATA') return 0
  return code === 'ENOTFOUND' || code === 'EBADNAME' ? 3 : 2
}

async function systemLookup(name: string): Promise<readonly { address: string; ttl: number }[]> {
  return dns.resolve4(name, { ttl: true })
}
