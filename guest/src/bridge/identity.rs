//! INVOKE of kind `identity`: what must differ between two clones of a snapshot, or must be as the host set it.

use crate::sys;
use crate::wire::Frame;
use serde_json::json;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

pub fn is_asked(frame: &Frame) -> bool {
    super::wire_json(&frame.payload)["kind"] == "identity"
}

pub fn draw() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({
        "randomBytes": hex(32),
        "uuid": uuid(),
        "nowMs": now.as_secs_f64() * 1e3,
        "hostname": sys::hostname(),
        "addresses": addresses(),
    })
    .to_string()
}

/// A random one, version 4.
pub fn uuid() -> String {
    let mut digits = hex(16).into_bytes();
    digits[12] = b'4';
    digits[16] = b"89ab"[usize::from(digits[16] % 4)];
    let text: String = digits.into_iter().map(char::from).collect();
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

/// Of this machine or sandbox, those of the loopback left out.
fn addresses() -> Vec<String> {
    let mut found = Vec::new();
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the call fills `list` with a list that is freed once, below; each entry lives until then, and an address is read as what
    // its family says.
    unsafe {
        if libc::getifaddrs(&mut list) != 0 {
            return found;
        }
        let mut entry = list;
        while let Some(interface) = entry.as_ref() {
            let is_outward = interface.ifa_flags & libc::IFF_LOOPBACK as libc::c_uint == 0;
            match interface.ifa_addr.as_ref().filter(|_| is_outward).map(|address| i32::from(address.sa_family)) {
                Some(libc::AF_INET) => {
                    let address = &*interface.ifa_addr.cast::<libc::sockaddr_in>();
                    found.push(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).to_string());
                }
                Some(libc::AF_INET6) => {
                    let address = &*interface.ifa_addr.cast::<libc::sockaddr_in6>();
                    found.push(Ipv6Addr::from(address.sin6_addr.s6_addr).to_string());
                }
                _ => {}
            }
            entry = interface.ifa_next;
        }
        libc::freeifaddrs(list);
    }
    found
}

pub fn hex(count: usize) -> String {
    let mut bytes = vec![0u8; count];
    // The kernel has randomness from its boot on; without it nothing here may go on.
    sys::draw_random(&mut bytes).unwrap_or_else(|_| sys::exit(1));
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_is_a_version_4_one_and_new_each_time() {
        let (one, two) = (uuid(), uuid());
        assert_ne!(one, two);
        let parts: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert!(one.as_bytes()[14] == b'4' && b"89ab".contains(&one.as_bytes()[19]), "{one}");
    }

    #[test]
    fn draw_gives_what_a_clone_is_compared_by() {
        let value: serde_json::Value = serde_json::from_str(&draw()).unwrap();
        assert_eq!(value["randomBytes"].as_str().unwrap().len(), 64);
        assert!(value["nowMs"].as_f64().unwrap() > 1.6e12);
        assert!(value["addresses"].is_array() && value["hostname"].is_string());
    }
}
