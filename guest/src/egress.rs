//! `network: egress`: a sandbox's network gets a way out. Runs in the helper process of netns.rs.
//!
//! Each sandbox has one veth pair and one address of a /16 within 100.64.0.0/10; the gateway's address is the same for all. One
//! nftables table, put in place at the first use, translates addresses, keeps sandboxes from this machine, from one another
//! and from every network that is not the public one, and leads all name service to the platform's resolver.

use crate::error::{errno_text, Error};
use crate::netlink::{interface_index, Netlink};
use crate::sys;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

pub const FIX: &str = "Run: apt-get install nftables";
const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
const FIRST_INDEX: u16 = 2;
const LAST_INDEX: u16 = 65_000;

/// What no sandbox may reach: private, shared, link-local (with the clouds' metadata), loopback, test, multicast and reserved.
const CLOSED: &str = "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, \
                      192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/3";

pub struct Request {
    pub serial: u32,
    pub index: u16,
    /// 0: there is no resolver.
    pub resolver_port: u16,
}

pub fn missing(reason: &str) -> Error {
    Error::Missing { feature: "egress", reason: reason.to_string(), fix: FIX }
}

/// Why this machine cannot give a way out, or None.
pub fn obstacle(is_root: bool) -> Option<&'static str> {
    if !is_root {
        return Some("only root can give a sandbox a way out");
    }
    find_nft().is_none().then_some("\"nft\" is not installed")
}

fn find_nft() -> Option<&'static str> {
    ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft"]
        .into_iter()
        .find(|path| fs::metadata(path).is_ok())
}

/// Numbers of sandboxes with a network; each is an address. Given out in turn, so that one is not soon reused.
#[derive(Default)]
pub struct Indexes {
    used: BTreeSet<u16>,
    last: u16,
}

impl Indexes {
    pub fn take(&mut self) -> Result<u16, Error> {
        for _ in FIRST_INDEX..=LAST_INDEX {
            self.last = if self.last >= LAST_INDEX { FIRST_INDEX } else { self.last.max(FIRST_INDEX - 1) + 1 };
            if self.used.insert(self.last) {
                return Ok(self.last);
            }
        }
        Err(missing("all addresses are in use"))
    }

    pub fn give_back(&mut self, index: u16) {
        self.used.remove(&index);
    }
}

/// Names and addresses of one platform.
struct Plan {
    /// nftables table, e.g. `hearth-0123456789ab`.
    table: String,
    /// Interfaces on the host begin with this, at most 15 characters with the number.
    prefix: String,
    /// Second byte of the addresses, 64 to 127.
    network: u8,
}

impl Plan {
    fn new(id: &str) -> Plan {
        let hash = id.bytes().fold(0u8, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte));
        Plan {
            table: format!("hearth-{id}"),
            prefix: format!("hth{}x", &id[..id.len().min(6)]),
            network: 64 + hash % 64,
        }
    }

    fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(100, self.network, 0, 1)
    }

    fn address(&self, index: u16) -> Ipv4Addr {
        let [high, low] = index.to_be_bytes();
        Ipv4Addr::new(100, self.network, high, low)
    }

    /// The table as nft reads it; replaces one that is there.
    fn rules(&self, resolver_port: u16) -> String {
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
        // "hth*" is every Hearth of this machine: their sandboxes are as closed to one another as their own.
        format!(
            "table inet {table} {{}}
delete table inet {table}
table inet {table} {{
  set closed {{ type ipv4_addr; flags interval; elements = {{ {CLOSED} }} }}
  chain prerouting {{
    type nat hook prerouting priority dstnat - 10; policy accept;
    {names}  }}
  chain input {{
    type filter hook input priority filter - 10; policy accept;
    {names_in}    iifname \"{prefix}*\" drop
  }}
  chain forward {{
    type filter hook forward priority filter - 10; policy accept;
    iifname \"{prefix}*\" meta nfproto ipv6 drop
    iifname \"{prefix}*\" oifname \"hth*\" drop
    iifname \"{prefix}*\" fib saddr . iif oif missing drop
    iifname \"{prefix}*\" ip daddr @closed drop
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

pub struct Egress {
    plan: Plan,
    /// Port that the rules in place lead name service to.
    rules_port: Option<u16>,
}

enum Failure {
    Missing(String),
    Os(String, io::Error),
}

trait Doing<T> {
    fn doing(self, action: &str) -> Result<T, Failure>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, action: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::Os(action.to_string(), error))
    }
}

impl Egress {
    pub fn new(id: &str) -> Egress {
        Egress { plan: Plan::new(id), rules_port: None }
    }

    /// Answers `serial index port` as netns.rs reads it.
    pub fn answer(&mut self, text: &str, network: &OwnedFd, home: &OwnedFd) -> String {
        let numbers: Vec<u32> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [serial, index, port] = numbers[..] else { return "0 71 understand the request|".to_string() };
        let mut notice = "";
        let done = self.prepare(port as u16).and_then(|made| {
            notice = made;
            self.connect(index as u16, network, home)
        });
        match done {
            Ok(()) => format!("{serial} 0 |{notice}"),
            Err(Failure::Missing(reason)) => format!("{serial} -1 {reason}|{notice}"),
            Err(Failure::Os(action, error)) => {
                format!("{serial} {} {action}|{notice}", error.raw_os_error().unwrap_or(libc::EIO))
            }
        }
    }

    /// Once: the rules, and forwarding. Returns what the operator should know.
    fn prepare(&mut self, port: u16) -> Result<&'static str, Failure> {
        if self.rules_port == Some(port) {
            return Ok("");
        }
        run_nft(&self.plan.rules(port))?;
        self.rules_port = Some(port);
        if fs::read_to_string(IP_FORWARD).doing("read ip_forward")?.trim() != "0" {
            return Ok("");
        }
        fs::write(IP_FORWARD, "1").doing("turn on net.ipv4.ip_forward")?;
        Ok("net.ipv4.ip_forward was turned on: functions with network egress need it.")
    }

    fn connect(&self, index: u16, network: &OwnedFd, home: &OwnedFd) -> Result<(), Failure> {
        let (gateway, address) = (self.plan.gateway(), self.plan.address(index));
        let name = format!("{}{index:x}", self.plan.prefix);
        let host = Netlink::open().doing("open a routing socket")?;
        host.add_veth(&name, "eth0", network.as_raw_fd()).doing(&format!("make the interface \"{name}\""))?;
        let outside = || -> io::Result<()> {
            let number = interface_index(&name)?;
            // The resolver listens on this machine's loopback; the rules let nothing else there.
            fs::write(format!("/proc/sys/net/ipv4/conf/{name}/route_localnet"), "1")?;
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
            host.add_address(number, gateway)?;
            host.set_up(number)?;
            host.add_route(number, Some(address), None)
        };
        outside().doing(&format!("set up the interface \"{name}\""))?;
        let inside = || -> io::Result<()> {
            let sandbox = Netlink::open()?;
            let number = interface_index("eth0")?;
            sandbox.add_address(number, address)?;
            sandbox.set_up(number)?;
            sandbox.add_route(number, Some(gateway), None)?;
            sandbox.add_route(number, None, Some(gateway))
        };
        sys::setns(network.as_raw_fd(), libc::CLONE_NEWNET).doing("enter the sandbox's network")?;
        let made = inside();
        if sys::setns(home.as_raw_fd(), libc::CLONE_NEWNET).is_err() {
            // In the wrong network nothing more may be done; the launcher sees us end.
            sys::exit(1);
        }
        made.doing("set up the sandbox's interface")
    }

    /// Takes the rules away, when the launcher has ended.
    pub fn close(&self) {
        if self.rules_port.is_some() {
            let _ = run_nft(&format!("delete table inet {}\n", self.plan.table));
        }
    }
}

fn run_nft(script: &str) -> Result<(), Failure> {
    let nft = find_nft().ok_or_else(|| Failure::Missing("\"nft\" is not installed".to_string()))?;
    let run = || -> io::Result<std::process::Output> {
        let mut child = Command::new(nft)
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(script.as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = run().map_err(|error| {
        Failure::Missing(format!("\"{nft}\" cannot be run: {}", errno_text(error.raw_os_error().unwrap_or(libc::EIO))))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().next().unwrap_or("it failed").replace('|', "/");
    Err(Failure::Missing(format!("nft says: {line}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_go_round_and_are_not_given_twice() {
        let mut indexes = Indexes::default();
        assert_eq!((indexes.take(), indexes.take()), (Ok(2), Ok(3)));
        indexes.give_back(2);
        assert_eq!(indexes.take(), Ok(4));
        indexes.last = LAST_INDEX;
        assert_eq!(indexes.take(), Ok(2));
        assert_eq!(indexes.take(), Ok(5));
    }

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
        for rule in ["169.254.0.0/16", "meta nfproto ipv6 drop", "oifname \"hth*\" drop", "masquerade"] {
            assert!(plan.rules(0).contains(rule), "{rule}");
        }
    }
}
