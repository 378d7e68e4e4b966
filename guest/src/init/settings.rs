//! What the guest's kernel has set otherwise than a sandboxed process meets it: a program must find the same in both.

use crate::error::{Context, Error};
use std::fs;

const SETTINGS: [(&str, &str); 2] = [
    // As in a container: every port may be listened on. Twin: `open_low_ports` in sandbox/root.rs.
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    // By itself the kernel refuses one request for more than the machine has. In a process nothing is refused, and what is used beyond the limit ends the
    // runtime: there the machine is the host.
    ("/proc/sys/vm/overcommit_memory", "1"),
];

/// Before anything of the function's runs.
pub fn apply() -> Result<(), Error> {
    for (file, value) in SETTINGS {
        fs::write(file, value).at("init.settings", || format!("write {value} to \"{file}\""))?;
    }
    Ok(())
}
