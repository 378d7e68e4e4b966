//! The way out of a VM: the guest's own frames, from `tap0` over a bridge to a veth, whose other end is the gateway. The guest has
//! the address; all else is as for processes. Each way is limited to a rate.

use super::{Doing, Egress, Failure};
use crate::netlink::{interface_index, Netlink};
use crate::sys;
use crate::tap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const BRIDGE: &str = "br0";

pub struct VmRequest {
    pub serial: u32,
    pub index: u16,
    /// 0: there is no resolver.
    pub resolver_port: u16,
    pub bytes_per_second: u64,
    /// False for a VM that has its way out since a former launcher: only the rules are made sure of.
    pub is_new: bool,
}

impl VmRequest {
    pub fn encode(&self) -> String {
        let VmRequest { serial, index, resolver_port, bytes_per_second, is_new } = self;
        format!("{serial} {index} {resolver_port} {bytes_per_second} {}", u8::from(*is_new))
    }

    fn decode(text: &str) -> Option<VmRequest> {
        let numbers: Vec<u64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [serial, index, port, bytes_per_second, is_new] = numbers[..] else { return None };
        let (serial, index) = (serial as u32, index as u16);
        Some(VmRequest { serial, index, resolver_port: port as u16, bytes_per_second, is_new: is_new == 1 })
    }
}

impl Egress {
    /// Answers an encoded `VmRequest` as netns.rs reads it.
    pub fn answer_vm(&mut self, text: &str, network: &OwnedFd, home: &OwnedFd) -> String {
        let Some(request) = VmRequest::decode(text) else { return "0 71 understand the request|".to_string() };
        self.has_vms = true;
        let prepared = self.prepare(request.resolver_port);
        let notice = *prepared.as_ref().unwrap_or(&"");
        let done = match prepared {
            Ok(_) if request.is_new => self.connect_vm(&request, network, home),
            other => other.map(drop),
        };
        super::reply(request.serial, done, notice)
    }

    fn connect_vm(&self, request: &VmRequest, network: &OwnedFd, home: &OwnedFd) -> Result<(), Failure> {
        let name = format!("{}{:x}", self.plan.prefix, request.index);
        let made = self.make_way(&name, request, network, home);
        if made.is_err() {
            // Both ends go, so that it can be asked for again.
            let _ = Netlink::open().and_then(|host| host.delete_link(interface_index(&name)?));
        }
        made
    }

    fn make_way(&self, name: &str, request: &VmRequest, network: &OwnedFd, home: &OwnedFd) -> Result<(), Failure> {
        let host = Netlink::open().doing("open a routing socket")?;
        host.add_veth(name, "eth0", network.as_raw_fd()).doing(&format!("make the interface \"{name}\""))?;
        let outside = || -> io::Result<()> {
            let number = interface_index(name)?;
            // It tells of its own address alone, not of the machine's others: this end hears the guest's own frames.
            fs::write(format!("/proc/sys/net/ipv4/conf/{name}/arp_ignore"), "1")?;
            host.limit_rate(number, request.bytes_per_second)?;
            self.open_gateway(&host, name, request.index)
        };
        outside().doing(&format!("set up the interface \"{name}\""))?;
        sys::setns(network.as_raw_fd(), libc::CLONE_NEWNET).doing("enter the VM's network")?;
        let joined = join(request.bytes_per_second);
        if sys::setns(home.as_raw_fd(), libc::CLONE_NEWNET).is_err() {
            // In the wrong network nothing more may be done; the launcher sees us end.
            sys::exit(1);
        }
        joined.doing("join the VM's interface to its way out")
    }
}

/// In the VM's namespace.
fn join(bytes_per_second: u64) -> io::Result<()> {
    let netlink = Netlink::open()?;
    if interface_index(BRIDGE).is_err() {
        netlink.add_bridge(BRIDGE)?;
    }
    for name in [BRIDGE, "eth0"] {
        tap::quiet(name);
    }
    let bridge = interface_index(BRIDGE)?;
    let out = interface_index("eth0")?;
    netlink.limit_rate(out, bytes_per_second)?;
    for index in [out, interface_index(tap::NAME)?] {
        netlink.set_master(index, bridge)?;
        // There are two ports, so nothing is gained by knowing who is where, and a guest that makes up senders would fill the table.
        netlink.learn_nothing(index)?;
        netlink.set_up(index)?;
    }
    netlink.set_up(bridge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_request_survives_the_socket() {
        let request = VmRequest { serial: 7, index: 65_000, resolver_port: 0, bytes_per_second: 1 << 40, is_new: true };
        let Some(got) = VmRequest::decode(&request.encode()) else { panic!("lost") };
        assert_eq!(got.encode(), "7 65000 0 1099511627776 1");
        assert!(VmRequest::decode("1 2 3").is_none());
    }
}
