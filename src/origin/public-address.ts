import { isOpenAddress } from '../domain/closed-ranges.ts'
import { lookup as lookupAll, type LookupAddress } from 'node:dns'
import { BlockList, isIPv4, isIPv6, type LookupFunction } from 'node:net'

const global6 = new BlockList()
global6.addSubnet('2000::', 3, 'ipv6')
/** In the global range, but tunnels to IPv4 addresses, or for documentation. */
const tunnels6 = new BlockList()
tunnels6.addSubnet('2001::', 32, 'ipv6')
tunnels6.addSubnet('2001:db8::', 32, 'ipv6')
tunnels6.addSubnet('2002::', 16, 'ipv6')

/** Whether `address` is one of the internet's, not this host's, this network's or a cloud's metadata. Source: IANA special-purpose registries. */
export function isPublicAddress(address: string): boolean {
  if (isIPv4(address)) return isOpenAddress(address)
  return isIPv6(address) && global6.check(address, 'ipv6') && !tunnels6.check(address, 'ipv6')
}

/** A name that leads to closed addresses only. */
export class ClosedAddress extends Error {
  override readonly name = 'ClosedAddress'
}

/** Throws ClosedAddress where the host is spelled as an address that is closed: nobody looks that up. */
export function refuseClosedLiteral(hostname: string): void {
  const bare = hostname.replace(/^\[|\]$/g, '')
  if ((isIPv4(bare) || isIPv6(bare)) && !isPublicAddress(bare)) throw new ClosedAddress(bare)
}

/** The machine's own look-up without closed addresses; whoever connects by it connects to what was checked. */
export const publicLookup: LookupFunction = (hostname, options, callback) => {
  lookupAll(hostname, { ...options, all: true }, (error, found) => {
    if (error !== null) return callback(error, '', 4)
    const open = found.filter(({ address }) => isPublicAddress(address))
    const [first] = open
    if (first === undefined) return callback(new ClosedAddress(hostname), '', 4)
    const answer = callback as (error: null, address: string | LookupAddress[], family?: number) => void
    if (options.all === true) answer(null, open)
    else answer(null, first.address, first.family)
  })
}
