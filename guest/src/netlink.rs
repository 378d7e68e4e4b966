//! The few netlink requests that networks of sandboxes and VMs need. Running `ip` takes 4 ms a call, this 0.1.
//! Source: Linux rtnetlink(7); veth's nested peer as in drivers/net/veth.c.

use crate::sys;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWQDISC: u16 = 36;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_BRPORT_LEARNING: u16 = 8;
const NLA_F_NESTED: u16 = 0x8000;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
/// struct nlmsghdr.
pub const HEADER_BYTES: usize = 16;

/// A routing socket of the network namespace that it was opened in.
pub struct Netlink(OwnedFd);

impl Netlink {
    pub fn open() -> io::Result<Netlink> {
        sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE).map(Netlink)
    }

    /// Makes a pair: `name` here, `peer` in the namespace `network`.
    pub fn add_veth(&self, name: &str, peer: &str, network: RawFd) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
        message.link_header(0, 0, 0);
        message.text(IFLA_IFNAME, name);
        message.nested(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth");
            info.nested(IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |end| {
                    end.link_header(0, 0, 0);
                    end.text(IFLA_IFNAME, peer);
                    end.attribute(IFLA_NET_NS_FD, &(network as u32).to_ne_bytes());
                });
            });
        });
        self.request(message)
    }

    pub fn add_bridge(&self, name: &str) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
        message.link_header(0, 0, 0);
        message.text(IFLA_IFNAME, name);
        message.nested(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, "bridge"));
        self.request(message)
    }

    /// Makes an interface a port of a bridge.
    pub fn set_master(&self, index: u32, bridge: u32) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, 0);
        message.link_header(index, 0, 0);
        message.attribute(IFLA_MASTER, &bridge.to_ne_bytes());
        self.request(message)
    }

    /// A port of a bridge that remembers no sender: every frame goes to the other ports.
    /// Source: net/bridge/br_netlink.c, `br_setlink`.
    pub fn learn_nothing(&self, index: u32) -> io::Result<()> {
        let mut message = Message::new(RTM_SETLINK, 0);
        message.bytes(&[libc::AF_BRIDGE as u8, 0, 0, 0]);
        for number in [index, 0, 0] {
            message.bytes(&number.to_ne_bytes());
        }
        message.nested(IFLA_PROTINFO | NLA_F_NESTED, |port| port.attribute(IFLA_BRPORT_LEARNING, &[0]));
        self.request(message)
    }

    /// Removes an interface, of a pair both.
    pub fn delete_link(&self, index: u32) -> io::Result<()> {
        let mut message = Message::new(RTM_DELLINK, 0);
        message.link_header(index, 0, 0);
        self.request(message)
    }

    /// What leaves by an interface is slowed to a rate by a token bucket; what waits longer than that is dropped.
    /// Source: tc-tbf(8), net/sched/sch_tbf.c; struct tc_tbf_qopt of linux/pkt_sched.h.
    pub fn limit_rate(&self, index: u32, bytes_per_second: u64) -> io::Result<()> {
        const TC_H_ROOT: u32 = 0xffff_ffff;
        const LINKLAYER_ETHERNET: u8 = 1;
        // A tenth of a second may leave at once and another wait, but never less than two of the largest segments.
        let burst = (bytes_per_second / 10).clamp(131_072, 1 << 30) as u32;
        let rate = u32::try_from(bytes_per_second).unwrap_or(u32::MAX);
        let mut message = Message::new(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE);
        message.bytes(&[0; 4]);
        for number in [index, 0, TC_H_ROOT, 0] {
            message.bytes(&number.to_ne_bytes());
        }
        message.text(TCA_KIND, "tbf");
        message.nested(TCA_OPTIONS, |options| {
            options.nested(TCA_TBF_PARMS, |parms| {
                // struct tc_ratespec of the rate, then of no peak rate; limit, buffer (told by BURST below), mtu.
                parms.bytes(&[0, LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0]);
                parms.bytes(&rate.to_ne_bytes());
                parms.bytes(&[0; 12]);
                for number in [burst, 0, 0] {
                    parms.bytes(&number.to_ne_bytes());
                }
            });
            options.attribute(TCA_TBF_BURST, &burst.to_ne_bytes());
            options.attribute(TCA_TBF_RATE64, &bytes_per_second.to_ne_bytes());
        });
        self.request(message)
    }

    pub fn set_up(&self, index: u32) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, 0);
        message.link_header(index, libc::IFF_UP as u32, libc::IFF_UP as u32);
        self.request(message)
    }

    /// Its routes and neighbours go with it.
    pub fn set_down(&self, index: u32) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, 0);
        message.link_header(index, 0, libc::IFF_UP as u32);
        self.request(message)
    }

    /// Gives an interface one address, alone in its network (/32).
    pub fn add_address(&self, index: u32, address: Ipv4Addr) -> io::Result<()> {
        self.request(address_message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, address))
    }

    pub fn remove_address(&self, index: u32, address: Ipv4Addr) -> io::Result<()> {
        self.request(address_message(RTM_DELADDR, 0, index, address))
    }

    /// A route to one address on the interface itself, or to everywhere (`to` None) by a gateway.
    pub fn add_route(&self, index: u32, to: Option<Ipv4Addr>, gateway: Option<Ipv4Addr>) -> io::Result<()> {
        const TABLE_MAIN: u8 = 254;
        const PROTOCOL_STATIC: u8 = 4;
        const SCOPE_LINK: u8 = 253;
        const TYPE_UNICAST: u8 = 1;
        let mut message = Message::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
        let (bits, scope) = (if to.is_some() { 32 } else { 0 }, if gateway.is_some() { 0 } else { SCOPE_LINK });
        message.bytes(&[libc::AF_INET as u8, bits, 0, 0, TABLE_MAIN, PROTOCOL_STATIC, scope, TYPE_UNICAST, 0, 0, 0, 0]);
        if let Some(to) = to {
            message.attribute(RTA_DST, &to.octets());
        }
        if let Some(gateway) = gateway {
            message.attribute(RTA_GATEWAY, &gateway.octets());
        }
        message.attribute(RTA_OIF, &index.to_ne_bytes());
        self.request(message)
    }

    fn request(&self, message: Message) -> io::Result<()> {
        request(&self.0, message)
    }
}

/// Sends one request and waits for its acknowledgement.
pub fn request(socket: &OwnedFd, message: Message) -> io::Result<()> {
    sys::send(socket.as_raw_fd(), &message.finish())?;
    let mut answer = [0u8; 1024];
    let count = sys::read(socket.as_raw_fd(), &mut answer)?;
    let is_answer = count >= HEADER_BYTES + 4 && u16::from_ne_bytes([answer[4], answer[5]]) == NLMSG_ERROR;
    if !is_answer {
        return Err(io::Error::from_raw_os_error(libc::EPROTO));
    }
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(-errno)),
    }
}

/// struct ifaddrmsg and one address, alone in its network.
fn address_message(kind: u16, flags: u16, index: u32, address: Ipv4Addr) -> Message {
    let mut message = Message::new(kind, flags);
    message.bytes(&[libc::AF_INET as u8, 32, 0, 0]);
    message.bytes(&index.to_ne_bytes());
    message.attribute(IFA_LOCAL, &address.octets());
    message.attribute(IFA_ADDRESS, &address.octets());
    message
}

/// Number of an interface of the namespace this process is in.
pub fn interface_index(name: &str) -> io::Result<u32> {
    let name = sys::c(name)?;
    // SAFETY: `name` is NUL-terminated and lives over the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// A request under construction.
pub struct Message(Vec<u8>);

impl Message {
    pub fn new(kind: u16, flags: u16) -> Message {
        let mut message = Message(Vec::with_capacity(256));
        // The length is set by `finish`; sequence and port are of no use with one request at a time.
        message.bytes(&[0; 4]);
        message.bytes(&kind.to_ne_bytes());
        message.bytes(&(flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        message.bytes(&[0; 8]);
        message
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// struct ifinfomsg; `changed` says which flags count.
    fn link_header(&mut self, index: u32, flags: u32, changed: u32) {
        self.bytes(&[0; 4]);
        self.bytes(&index.to_ne_bytes());
        self.bytes(&flags.to_ne_bytes());
        self.bytes(&changed.to_ne_bytes());
    }

    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nested(kind, |inside| inside.bytes(value));
    }

    fn text(&mut self, kind: u16, value: &str) {
        self.nested(kind, |inside| {
            inside.bytes(value.as_bytes());
            inside.bytes(&[0]);
        });
    }

    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Message)) {
        let start = self.0.len();
        self.bytes(&[0; 2]);
        self.bytes(&kind.to_ne_bytes());
        fill(self);
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    pub fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_but_their_length_is_not() {
        let mut message = Message::new(RTM_NEWLINK, 0);
        message.text(IFLA_IFNAME, "eth0");
        let bytes = message.finish();
        assert_eq!(bytes.len(), HEADER_BYTES + 12);
        assert_eq!(bytes[..4], 28u32.to_ne_bytes());
        assert_eq!(bytes[16..18], 9u16.to_ne_bytes());
        assert_eq!(&bytes[20..28], b"eth0\0\0\0\0");
    }
}
