//! The files of cgroup v2, the one hierarchy with all controllers.

use super::member::Member;
use super::peak::Peak;
use super::MIB;
use crate::error::{Context, Error};
use std::fs;
use std::io;

const STEP_MEMORY: &str = "cgroup.memory";

pub fn limit_memory(member: &Member, mib: u64) -> Result<(), Error> {
    member.write(STEP_MEMORY, "memory.max", &(mib * MIB).to_string())?;
    // Absent without swap support.
    let _ = member.write(STEP_MEMORY, "memory.swap.max", "0");
    Ok(())
}

pub fn share_cpu(member: &Member, share: u64) -> Result<(), Error> {
    member.write("cgroup.cpu", "cpu.weight", &weight(share).to_string())
}

pub fn set_frozen(member: &Member, is_frozen: bool) -> Result<(), Error> {
    member.write("freezer", "cgroup.freeze", if is_frozen { "1" } else { "0" })
}

pub fn is_frozen(member: &Member) -> bool {
    member.line("cgroup.events", "frozen") == 1
}

pub fn oom_kills(member: &Member) -> u64 {
    member.line("memory.events", "oom_kill")
}

/// Bytes in use, and at most since the last reset.
pub fn memory(member: &Member, peak: &Peak, reset_peak: bool) -> (u64, u64) {
    let in_use = member.number("memory.current");
    (in_use, peak.read(member, in_use, reset_peak))
}

/// Counted with or without the controller "cpu".
pub fn cpu_ms(member: &Member) -> u64 {
    member.line("cpu.stat", "usage_usec") / 1_000
}

/// v2's weight (1 to 10000) for v1's shares (2 to 262144), as systemd and runc convert.
pub fn weight(share: u64) -> u64 {
    1 + (share.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

/// Lets children of the platform's folder use a v2 controller.
pub fn delegate(root: &str, path: &str, id: &str, controller: &str) -> Result<(), Error> {
    let word = format!("+{controller}");
    let control = format!("{root}/cgroup.subtree_control");
    let written = match fs::write(&control, &word) {
        // A container's root holds processes, so it may not have children with controllers: they move to a leaf of their own.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            move_processes(root, &format!("{root}/hearth-{id}-main")).and_then(|()| fs::write(&control, &word))
        }
        written => written,
    };
    written
        .and_then(|()| fs::write(format!("{path}/cgroup.subtree_control"), &word))
        .at("cgroup.v2", || format!("enable the controller \"{controller}\" below \"{root}\""))
}

fn move_processes(from: &str, to: &str) -> io::Result<()> {
    if let Err(error) = fs::create_dir(to) {
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(error);
        }
    }
    for pid in fs::read_to_string(format!("{from}/cgroup.procs"))?.lines() {
        fs::write(format!("{to}/cgroup.procs"), pid)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_keeps_the_ends_and_the_order() {
        assert_eq!(weight(2), 1);
        assert_eq!(weight(262_144), 10_000);
        assert_eq!(weight(1024), 39);
        assert!(weight(2048) > weight(1024));
    }
}
