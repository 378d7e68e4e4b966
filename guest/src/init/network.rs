//! eth0, as BIND says.

use crate::error::{Context, Error};
use crate::netlink::{interface_index, Netlink};
use std::fs;
use std::net::Ipv4Addr;

const STEP: &str = "init.network";
/// The root image's /etc/resolv.conf leads here.
pub const RESOLV_CONF: &str = "/run/resolv.conf";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub address: Ipv4Addr,
    pub gateway: Ipv4Addr,
    pub name_server: Ipv4Addr,
}

/// Changes what was set, perhaps before a snapshot, to what is wanted; None takes the interface down. Setting the same anew forgets neighbours
/// and connections of another VM's life.
pub fn change(from: Option<Network>, to: Option<Network>) -> Result<(), Error> {
    if from.is_none() && to.is_none() {
        return Ok(());
    }
    let apply = || {
        let netlink = Netlink::open()?;
        let index = interface_index("eth0")?;
        if let Some(old) = from {
            netlink.set_down(index)?;
            netlink.remove_address(index, old.address)?;
        }
        if let Some(new) = to {
            // Its way out is IPv4 alone; a kernel without IPv6 has nothing to turn off.
            let _ = fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1");
            netlink.add_address(index, new.address)?;
            netlink.set_up(index)?;
            netlink.add_route(index, Some(new.gateway), None)?;
            netlink.add_route(index, None, Some(new.gateway))?;
        }
        Ok(())
    };
    apply().at(STEP, || match to {
        Some(new) => format!("give eth0 the address {}", new.address),
        None => "take eth0 down".to_string(),
    })?;
    let text = to.map_or(String::new(), |new| format!("nameserver {}\n", new.name_server));
    fs::write(RESOLV_CONF, text).at(STEP, || format!("write \"{RESOLV_CONF}\""))
}
