//! `probe`: what a sandbox is made of here, found out by starting one. Its runtime is this very program (`selftest`), which looks
//! around and tries what must fail.

use crate::cgroup::{Cgroups, Controller};
use crate::egress;
use crate::error::{errno_text, Context, Error};
use crate::host::Host;
use crate::instance::Channels;
use crate::request::{Bind, Spawn};
use crate::sys;
use serde_json::{json, Value};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const PROGRAM: &str = "/hearth-guest";
const PROBE_UID: u32 = 65_534;
/// Namespaces by the name of their file in /proc/self/ns, and of the feature.
const NAMESPACES: [(&str, &str); 5] =
    [("pid", "pid_ns"), ("mnt", "mount_ns"), ("net", "net_ns"), ("ipc", "ipc_ns"), ("uts", "uts_ns")];

pub struct Probe {
    pub requests: Vec<u64>,
    /// Where the sandbox writes its findings.
    pub report: OwnedFd,
}

impl Probe {
    pub fn read(&self) -> Option<Value> {
        let mut buffer = [0u8; 8192];
        let count = sys::read(self.report.as_raw_fd(), &mut buffer).ok()?;
        serde_json::from_slice(&buffer[..count]).ok()
    }
}

/// A sandbox around this program.
pub fn request(serial: u32, host: &Host) -> Result<(Spawn, Channels, OwnedFd), Error> {
    let program = fs::read_link("/proc/self/exe").at("probe", || "find this program".to_string())?;
    let pair = || sys::socketpair(libc::SOCK_STREAM).at("probe", || "make a socket pair".to_string());
    let (report, runtime) = pair()?;
    let (supervisor, _) = pair()?;
    sys::set_nonblocking(report.as_raw_fd()).at("probe", || "make a socket pair".to_string())?;
    let request = Spawn {
        instance: format!("probe-{serial}"),
        channel: String::new(),
        supervisor: String::new(),
        // Any uid that is not the platform's.
        uid: if host.platform_uid == PROBE_UID { PROBE_UID - 1 } else { PROBE_UID },
        argv: vec![PROGRAM.to_string(), "selftest".to_string()],
        env: Vec::new(),
        binds: vec![Bind { source: program.to_string_lossy().into_owned(), target: PROGRAM.to_string() }],
        etc: "/etc".to_string(),
        pids_max: 16,
        memory_mib: 64,
        tmp_mib: 4,
    };
    Ok((request, Channels { runtime, supervisor }, report))
}

// ---- inside the sandbox

/// Looks around and writes what it finds to descriptor 3.
pub fn selftest() -> Result<i32, Error> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or("").split_whitespace().next().unwrap_or("").to_string()
    };
    let namespaces: serde_json::Map<String, Value> =
        NAMESPACES.iter().map(|(name, _)| (name.to_string(), json!(namespace(name)))).collect();
    let capabilities = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(field);
    let findings = json!({
        "namespaces": namespaces,
        "pid": std::process::id(),
        "uid": sys::geteuid(),
        "capabilities": capabilities,
        "noNewPrivs": field("NoNewPrivs"),
        "seccomp": field("Seccomp"),
        "rootWrite": errno_of(fs::write("/hearth-probe", "")),
        "usrWrite": errno_of(fs::write("/usr/hearth-probe", "")),
        "tmpWrite": errno_of(fs::write("/tmp/hearth-probe", "x")),
        "shadowRead": errno_of(fs::read("/etc/shadow").map(drop)),
        "mount": errno_of(sys::mount("none", "/tmp", "tmpfs", 0, "")),
        "unshare": errno_of(sys::unshare(libc::CLONE_NEWUSER)),
        "signalSupervisor": errno_of(sys::kill(1, 0)),
    });
    let text = findings.to_string();
    sys::write(3, text.as_bytes()).at("probe", || "write the findings".to_string())?;
    Ok(0)
}

fn namespace(name: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{name}")).map(|link| link.to_string_lossy().into_owned()).unwrap_or_default()
}

/// 0 when it worked.
fn errno_of(result: io::Result<()>) -> i32 {
    result.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO))
}

// ---- the reply

/// The reply, from what the sandbox found.
pub fn describe(host: &Host, cgroups: &Cgroups, findings: &Value) -> Value {
    let mut features = Vec::new();
    let mut add = |feature: &str, is_enforced: bool, detail: String| {
        features.push(json!({ "feature": feature, "enforced": is_enforced, "detail": detail }));
    };
    for (name, feature) in NAMESPACES {
        let theirs = findings["namespaces"][name].as_str().unwrap_or("");
        let is_own = !theirs.is_empty() && theirs != namespace(name);
        add(feature, is_own, format!("the sandbox is in {theirs}"));
    }
    if !host.is_root {
        add("user_ns", host.has_namespaces, "the launcher does not run as root".to_string());
    }
    let errno = |name: &str| findings[name].as_i64().unwrap_or(-1) as i32;
    let is_private = errno("rootWrite") == libc::EROFS && errno("usrWrite") == libc::EROFS && errno("tmpWrite") == 0;
    add("private_root", is_private, format!("writing to / gives: {}", told(errno("rootWrite"))));
    for (feature, controller) in
        [("memory_limit", Controller::Memory), ("cpu_share", Controller::Cpu), ("pids_limit", Controller::Pids)]
    {
        let is_there = cgroups.has(controller);
        add(
            feature,
            is_there,
            if is_there { format!("cgroup {}", cgroups.version_of(controller)) } else { cgroups.problem() },
        );
    }
    let can_freeze = cgroups.can_freeze();
    add("freezer", can_freeze, if can_freeze { "cgroup".to_string() } else { cgroups.problem() });
    let uid = findings["uid"].as_u64().unwrap_or(0);
    let own_uid = host.is_root && uid != 0 && uid != u64::from(host.platform_uid);
    add("own_uid", own_uid, format!("the sandbox ran as uid {uid}"));
    let has_none = |sets: &Vec<Value>| sets.len() == 5 && sets.iter().all(|set| set == "0000000000000000");
    add("no_capabilities", findings["capabilities"].as_array().is_some_and(has_none), "all five sets".to_string());
    add("no_new_privs", findings["noNewPrivs"] == "1", String::new());
    let is_filtered = findings["seccomp"] == "2" && errno("mount") == libc::EPERM && errno("unshare") == libc::EPERM;
    add("seccomp", is_filtered, format!("mount gives: {}", told(errno("mount"))));
    let abi = host.landlock_abi;
    add(
        "landlock",
        abi > 0,
        if abi > 0 { format!("version {abi}") } else { "the kernel does not have it".to_string() },
    );
    match egress::obstacle(host.is_root) {
        None => add("egress", true, "nftables".to_string()),
        Some(reason) => add("egress", false, egress::missing(reason).to_string()),
    }
    json!({ "root": host.is_root, "cgroup": cgroups.version(), "features": features })
}

fn told(errno: i32) -> String {
    match errno {
        0 => "it works".to_string(),
        errno => errno_text(errno),
    }
}
