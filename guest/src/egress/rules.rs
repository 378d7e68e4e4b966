//! Names and addresses of one platform, and the firewall rules made of them.

use std::net::Ipv4Addr;

/// What no sandbox may reach: private, shared, link-local (with the clouds' metadata), loopback, test, multicast and reserved.
const CLOSED: &str = "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, \
                      192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/3";

/// Open connections of one sandbox, closed ones that the kernel still remembers (a minute or two) included. A machine tracks 262,144 by default, for everybody.
const CONNECTIONS_MAX: u32 = 4_096;

/// Names and addresses of one platform.
pub struct Plan {
    /// nftables table, e.g. `hearth-0123456789ab`.
    pub table: String,
    /// Interfaces on the host begin with this, at most 15 characters with the number.
    pub prefix: String,
    /// Second byte of the addresses, 64 to 127.
    network: u8,
}

impl Plan {
    pub fn new(id: &str) -> Plan {
        let hash = id.bytes().fold(0u8, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte));
        Plan {
            table: format!("hearth-{id}"),
            prefix: format!("hth{}x", &id[..id.len().min(6)]),
            network: 64 + hash % 64,
        }
    }

    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(100, self.network, 0, 1)
    }

    pub fn address(&self, index: u16) -> Ipv4Addr {
        let [high, low] = index.to_be_bytes();
        Ipv4Addr::new(100, self.network, high, low)
    }

    /// One of its sandboxes' addresses.
    pub fn has(&self, address: Ipv4Addr) -> bool {
        address.octets()[..2] == [100, self.network]
    }

    /// The table as nft reads it; replaces one that is there.
    pub fn rules(&self, resolver_port: u16) -> String {
        let Plan { table, prefix, network } = self;
        let (names, names_in) = match resolver_port {
            0 => (String::new(), String::new()),
            port => (
                format!(
                    "iifname \"{prefix}*\" meta l4proto {{ tcp, udp }} th dport 53 dnat ip to 127.0.0.1:{port}\n"
                ),
                format!(
                    "iifname \"{prefix}*\" ip daddr 127.0.0.1 meta l4proto {{ tcp, udp }} th dport {port} ct status dnat accept\n"
                ),
            ),
        };
        let limit = format!("ct state new add @connections {{ ip saddr ct count over {CONNECTIONS_MAX} }} drop");
        // "hth*" is every Hearth of this machine: their sandboxes are as closed to one another as their own.
        format!(
            "table inet {table} {{}}
delete table inet {table}
table inet {table} {{
  set closed {{ type ipv4_addr; flags interval; elements = {{ {CLOSED} }} }}
  set connections {{ type ipv4_addr; size 65536; flags dynamic; }}
  chain prerouting {{
    type nat hook prerouting priority dstnat - 10; policy accept;
    {names}  }}
  chain input {{
    type filter hook input priority filter - 10; policy accept;
    iifname \"{prefix}*\" {limit}
    {names_in}    iifname \"{prefix}*\" drop
  }}
  chain forward {{
    type filter hook forward priority filter - 10; policy accept;
    iifname \"{prefix}*\" meta nfproto ipv6 drop
    iifname \"{prefix}*\" oifname \"hth*\" drop
    iifname \"{prefix}*\" fib saddr . iif oif missing drop
    iifname \"{prefix}*\" ip daddr @closed drop
    iifname \"{prefix}*\" {limit}
    oifname \"{prefix}*\" ct state established,related accept
    oifname \"{prefix}*\" drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat - 10; policy accept;
    ip saddr 100.{network}.0.0/16 oifname != \"hth*\" masquerade
  }}
}}
"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_keeps_names_short_and_addresses_shared() {
        let plan = Plan::new("0123456789ab");
        assert!(format!("{}{:x}", plan.prefix, u16::MAX).len() <= 15);
        assert_eq!(plan.address(0x1234).octets()[2..], [0x12, 0x34]);
        assert!((64..128).contains(&plan.gateway().octets()[1]));
    }

    #[test]
    fn rules_lead_names_to_the_resolver_only_when_there_is_one() {
        let plan = Plan::new("0123456789ab");
        assert!(plan.rules(5300).contains("dnat ip to 127.0.0.1:5300"));
        assert!(!plan.rules(0).contains("dnat"));
        for rule in
            ["ct count over 4096", "169.254.0.0/16", "meta nfproto ipv6 drop", "oifname \"hth*\" drop", "masquerade"]
        {
            assert!(plan.rules(0).contains(rule), "{rule}");
        }
    }
}
