//! `probe`: what a sandbox here is made of, found out by starting one. Its runtime is this very program (`selftest`), which looks
//! around and tries what must fail.

use crate::cgroup::{Cgroups, Controller};
use crate::error::{Context, Error};
use crate::host::Host;
use crate::instance::Channels;
use crate::request::{Bind, Spawn};
use crate::sys;
use serde_json::{json, Value};
use std::os::fd::{AsRawFd, OwnedFd};

const PROGRAM: &str = "/var/runtime";
const PROBE_UID: u32 = 65_534;

pub struct Probe {
    pub requests: Vec<u64>,
    /// Where the sandbox writes its findings.
    pub report: Option<OwnedFd>,
}

impl Probe {
    pub fn read(&self) -> Option<Value> {
        let mut buffer = [0u8; 8192];
        let count = sys::read(self.report.as_ref()?.as_raw_fd(), &mut buffer).ok()?;
        serde_json::from_slice(&buffer[..count]).ok()
    }
}

/// A sandbox around this program.
pub fn request(serial: u32) -> Result<(Spawn, Channels, OwnedFd), Error> {
    let program = std::fs::read_link("/proc/self/exe").at("probe", || "find this program".to_string())?;
    let program = program.to_string_lossy().into_owned();
    let pair = || sys::socketpair(libc::SOCK_STREAM).at("probe", || "make a socket pair".to_string());
    let (report, runtime) = pair()?;
    let (supervisor, _) = pair()?;
    sys::set_nonblocking(report.as_raw_fd()).at("probe", || "make a socket pair".to_string())?;
    let request = Spawn {
        instance: format!("probe-{serial}"),
        channel: String::new(),
        supervisor: String::new(),
        uid: PROBE_UID,
        argv: vec![format!("{PROGRAM}/hearth-guest"), "selftest".to_string()],
        env: Vec::new(),
        binds: vec![Bind { source: program, target: format!("{PROGRAM}/hearth-guest") }],
        etc: "/etc".to_string(),
        pids_max: 16,
        memory_mib: 64,
        tmp_mib: 4,
    };
    Ok((request, Channels { runtime, supervisor }, report))
}

/// The reply, from what the sandbox found (None: it did not start, for `failure`).
pub fn describe(host: &Host, cgroups: &Cgroups, _findings: Option<&Value>, _failure: &Error) -> Value {
    json!({ "root": host.is_root, "cgroup": cgroups.version(), "features": [], "freezer": cgroups.can_freeze(), "x": cgroups.has(Controller::Memory) })
}
