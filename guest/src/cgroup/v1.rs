//! The files of cgroup v1, one hierarchy for each controller.

use super::member::Member;
use super::place::Place;
use super::{Controller, MIB};
use crate::error::Error;

const STEP_MEMORY: &str = "cgroup.memory";

/// Neither limit may exceed the other: memory with swap goes first when raised, last when lowered.
pub fn limit_memory(member: &Member, mib: u64) -> Result<(), Error> {
    const LIMIT: &str = "memory.limit_in_bytes";
    const WITH_SWAP: &str = "memory.memsw.limit_in_bytes";
    let bytes = (mib * MIB).to_string();
    let has_swap = member.read(WITH_SWAP).is_ok();
    if has_swap && member.number(WITH_SWAP) < mib * MIB {
        member.write(STEP_MEMORY, WITH_SWAP, &bytes)?;
        return member.write(STEP_MEMORY, LIMIT, &bytes);
    }
    member.write(STEP_MEMORY, LIMIT, &bytes)?;
    if has_swap {
        member.write(STEP_MEMORY, WITH_SWAP, &bytes)?;
    }
    Ok(())
}

/// Lets all sandboxes together have what a busy process on each CPU would have: a folder weighs as one process by default.
pub fn share_all(place: &Place) {
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    if place.controllers.contains(&Controller::Cpu) {
        let _ = std::fs::write(format!("{}/cpu.shares", place.path), (cpus * 1024).to_string());
    }
}

pub fn share_cpu(member: &Member, share: u64) -> Result<(), Error> {
    member.write("cgroup.cpu", "cpu.shares", &share.to_string())
}

pub fn set_frozen(member: &Member, is_frozen: bool) -> Result<(), Error> {
    member.write("freezer", "freezer.state", if is_frozen { "FROZEN" } else { "THAWED" })
}

pub fn is_frozen(member: &Member) -> bool {
    member.read("freezer.state").map(|state| state.trim() == "FROZEN").unwrap_or(false)
}

pub fn oom_kills(member: &Member) -> u64 {
    member.line("memory.oom_control", "oom_kill")
}

/// Bytes in use, and at most since the last reset.
pub fn memory(member: &Member, reset_peak: bool) -> (u64, u64) {
    let found = (member.number("memory.usage_in_bytes"), member.number("memory.max_usage_in_bytes"));
    if reset_peak {
        let _ = member.write(STEP_MEMORY, "memory.max_usage_in_bytes", "0");
    }
    found
}

pub fn cpu_ms(member: &Member) -> u64 {
    member.number("cpuacct.usage") / 1_000_000
}
