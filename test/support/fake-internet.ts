import dgram from 'node:dgram'
import net from 'node:net'
import { decode, encode } from 'dns-packet'

/* The internet of egress tests: every TCP connection on port 80 learns who it seems to come from; names have fixed answers; what comes to UDP
 * port 9, by IPv4 or IPv6, is told on standard output. */

const names: Readonly<Record<string, readonly string[]>> = {
  'open.example': ['203.0.113.10'],
  'mixed.example': ['10.9.9.9', '203.0.113.10', '169.254.169.254'],
  'private.example': ['192.168.7.7'],
}

const dns = dgram.createSocket('udp4')
dns.on('message', (message, from) => {
  const query = decode(message)
  const question = query.questions?.[0]
  if (question === undefined) return
  const addresses = question.type === 'A' ? (names[question.name] ?? []) : []
  const known = question.name in names
  const answers = addresses.map((data) => ({ type: 'A', name: question.name, ttl: 30, data }) as const)
  dns.send(
    encode({
      type: 'response',
      id: query.id ?? 0,
      flags: known ? 0x180 : 0x183,
      questions: query.questions ?? [],
      answers,
    }),
    from.port,
    from.address,
  )
})
dns.bind(53, '203.0.113.10', () => {
  net
    .createServer((socket) => {
      socket.on('error', () => socket.destroy())
      socket.end(`internet to ${socket.remoteAddress?.replace('::ffff:', '')}`)
    })
    .listen(80, () => console.log('ready'))
})

const ear = dgram.createSocket('udp6')
ear.on('message', (text, { address }) => console.log(`heard ${text.toString('latin1')} from ${address}`))
ear.bind(9, '::')
