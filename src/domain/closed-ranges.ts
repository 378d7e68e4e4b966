import { BlockList, isIPv4, isIPv6 } from 'node:net'

/** Address ranges a sandbox never reaches, whatever a name resolves to: this host, private, shared, link-local and metadata, multicast, reserved.
 *  Twin: the nftables rules in guest/src/egress/rules.rs. Source: IANA special-purpose address registries. */
export const closedRanges = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '224.0.0.0/4',
  '240.0.0.0/4',
] as const

const blocked = new BlockList()
for (const range of closedRanges) {
  const [network = '', bits = ''] = range.split('/')
  blocked.addSubnet(network, Number(bits), 'ipv4')
}

/** Whether a sandbox with egress may talk to `address`. IPv6 is closed altogether. */
export function isOpenAddress(address: string): boolean {
  if (isIPv6(address)) return false
  return isIPv4(address) && !blocked.check(address, 'ipv4')
}
