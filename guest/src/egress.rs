//! `network: egress` (made in the helper process of netns.rs).

use crate::error::Error;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

pub const FIX: &str = "Run: apt-get install nftables";

pub struct Request {
    pub serial: u32,
    pub index: u16,
    pub resolver_port: u16,
}

pub fn missing(reason: &str) -> Error {
    Error::Missing { feature: "egress", reason: reason.to_string(), fix: FIX }
}

/// Numbers of sandboxes with a network, each an address.
#[derive(Default)]
pub struct Indexes {
    used: BTreeSet<u16>,
    last: u16,
}

impl Indexes {
    pub fn take(&mut self) -> Result<u16, Error> {
        for _ in 0..u16::MAX {
            self.last = if self.last >= 65_000 { 2 } else { self.last.max(1) + 1 };
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

pub struct Egress;

impl Egress {
    pub fn new(_id: &str) -> Egress {
        Egress
    }

    pub fn answer(&mut self, text: &str, _network: &OwnedFd, _home: &OwnedFd) -> String {
        let serial = text.split(' ').next().unwrap_or("0");
        format!("{serial} -1 it is not built yet|")
    }
}
