//! The flows that the kernel remembers of addresses (conntrack). Whoever gets an address next must not get what is still sent to the
//! one who had it. Source: Linux net/netfilter/nf_conntrack_netlink.c, linux/netfilter/nfnetlink_conntrack.h.

use crate::netlink::{request, Message, HEADER_BYTES};
use crate::sys;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

const CT_NEW: u16 = 1 << 8;
const CT_GET: u16 = (1 << 8) | 1;
const CT_DELETE: u16 = (1 << 8) | 2;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
/// struct nfgenmsg: family, version, resource.
const GENERIC_BYTES: usize = 4;
const GENERIC: [u8; GENERIC_BYTES] = [libc::AF_INET as u8, 0, 0, 0];
const TYPE_MASK: u16 = 0x3fff;

/// Forgets every flow that was begun by or to an address that `is_meant`; returns how many. O(flows of the machine): 1 ms for some thousands.
pub fn forget(is_meant: impl Fn(Ipv4Addr) -> bool) -> io::Result<usize> {
    let socket = sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER)?;
    let flows = dump(&socket, &is_meant)?;
    for flow in &flows {
        match request(&socket, deletion(flow)) {
            // It ended by itself meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            other => other?,
        }
    }
    Ok(flows.len())
}

/// What names a flow, each as the kernel sent it.
struct Flow {
    tuple: Vec<u8>,
    id: Vec<u8>,
    zone: Option<Vec<u8>>,
}

fn dump(socket: &OwnedFd, is_meant: &impl Fn(Ipv4Addr) -> bool) -> io::Result<Vec<Flow>> {
    let mut message = Message::new(CT_GET, NLM_F_DUMP);
    message.bytes(&GENERIC);
    sys::send(socket.as_raw_fd(), &message.finish())?;
    let (mut flows, mut buffer) = (Vec::new(), vec![0u8; 65_536]);
    loop {
        let count = sys::read(socket.as_raw_fd(), &mut buffer)?;
        let mut rest = &buffer[..count];
        while let Some((kind, body, after)) = next_message(rest) {
            match kind {
                CT_NEW => flows.extend(flow_of(body, is_meant)),
                NLMSG_DONE => return Ok(flows),
                NLMSG_ERROR => return Err(error_of(body)),
                _ => {}
            }
            rest = after;
        }
        if count == 0 {
            return Err(io::Error::from_raw_os_error(libc::EPROTO));
        }
    }
}

fn deletion(flow: &Flow) -> Message {
    let mut message = Message::new(CT_DELETE, 0);
    message.bytes(&GENERIC);
    message.nested(CTA_TUPLE_ORIG | 0x8000, |tuple| tuple.bytes(&flow.tuple));
    message.attribute(CTA_ID, &flow.id);
    if let Some(zone) = &flow.zone {
        message.attribute(CTA_ZONE, zone);
    }
    message
}

/// Type and body of the first message, and what comes after it.
fn next_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER_BYTES..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn error_of(body: &[u8]) -> io::Error {
    let errno =
        body.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(libc::EPROTO, |bytes| -i32::from_ne_bytes(bytes));
    io::Error::from_raw_os_error(errno)
}

fn flow_of(body: &[u8], is_meant: &impl Fn(Ipv4Addr) -> bool) -> Option<Flow> {
    let attributes = body.get(GENERIC_BYTES..)?;
    let tuple = attribute(attributes, CTA_TUPLE_ORIG)?;
    let ip = attribute(tuple, CTA_TUPLE_IP)?;
    let address = |kind| attribute(ip, kind).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(Ipv4Addr::from);
    let is_one = [CTA_IP_V4_SRC, CTA_IP_V4_DST].into_iter().filter_map(address).any(is_meant);
    is_one.then(|| Flow {
        tuple: tuple.to_vec(),
        id: attribute(attributes, CTA_ID).unwrap_or_default().to_vec(),
        zone: attribute(attributes, CTA_ZONE).map(<[u8]>::to_vec),
    })
}

/// The value of the first attribute of this kind.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> Vec<u8> {
        let mut message = Message::new(CT_NEW, 0);
        message.bytes(&GENERIC);
        message.nested(CTA_TUPLE_ORIG | 0x8000, |tuple| {
            tuple.nested(CTA_TUPLE_IP | 0x8000, |ip| {
                ip.attribute(CTA_IP_V4_SRC, &[100, 64, 0, 7]);
                ip.attribute(CTA_IP_V4_DST, &[9, 9, 9, 9]);
            });
        });
        message.attribute(CTA_ID, &[1, 2, 3, 4]);
        message.finish()
    }

    #[test]
    fn a_flow_is_found_by_either_address_and_by_no_other() {
        let bytes = reply();
        let Some((kind, body, after)) = next_message(&bytes) else { panic!("no message") };
        assert_eq!((kind, after.len()), (CT_NEW, 0));
        for meant in [Ipv4Addr::new(100, 64, 0, 7), Ipv4Addr::new(9, 9, 9, 9)] {
            assert_eq!(flow_of(body, &|address| address == meant).map(|flow| flow.id), Some(vec![1, 2, 3, 4]));
        }
        assert!(flow_of(body, &|address| address == Ipv4Addr::new(100, 64, 0, 8)).is_none());
    }

    #[test]
    fn cut_messages_are_none() {
        let bytes = reply();
        for end in 0..bytes.len() {
            assert!(next_message(&bytes[..end]).is_none(), "{end}");
        }
        let (_, body, _) = next_message(&bytes).unwrap();
        for end in 0..body.len() {
            let _ = flow_of(&body[..end], &|_| true);
        }
    }

    #[test]
    fn length_zero_ends() {
        assert!(attribute(&[0, 0, 1, 0, 0, 0], 2).is_none());
    }
}
