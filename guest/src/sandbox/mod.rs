//! The inside of a sandbox while it is being made: the forked child of the launcher becomes PID 1 (the supervisor), builds a
//! private root, forks the runtime and gives everything up. STEPS below, and those of runtime.rs, are the order; each names itself in errors.
//!
//! The child starts in a copy of an empty mount namespace: there is nothing of the host in it to hide. What it may see came
//! over from the launcher as detached, read-only mounts.

mod network;
mod rights;
mod root;
mod runtime;
mod status;

pub use root::{place, place_proc, PROC_MASKED};
pub use status::{fail, Status, STATUS_BYTES};

use crate::cgroup::Cgroups;
use crate::seccomp::Filter;
use crate::supervisor;
use crate::sys;
use network::{enter_network, listen};
use rights::{install_filter, no_new_privileges, retire, set_limits};
use root::{enter_root, fill_dev, make_root, mount_proc, mount_tmp, place_trees};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

/// A detached mount and where it goes, relative to the new root.
pub struct Tree {
    pub target: String,
    pub mount: OwnedFd,
    pub is_dir: bool,
}

/// Everything the child needs, gathered by the launcher before the fork.
pub struct Plan<'a> {
    pub instance: &'a str,
    pub cgroups: &'a Cgroups,
    /// Gives a byte when the cgroups of `instance` are there; until then they are made beside the steps before.
    pub gate: &'a OwnedFd,
    /// From the pool; without it the child makes one.
    pub network: Option<&'a OwnedFd>,
    /// Symlinks of the root as the host has them, e.g. ("usr/bin", "bin").
    pub root_links: &'a [(String, String)],
    pub trees: &'a [Tree],
    /// Device nodes as binds, where mknod is not allowed.
    pub devices: &'a [Tree],
    pub proc_masked: &'a [(&'static str, bool)],
    pub tmp: &'a OwnedFd,
    pub status: &'a OwnedFd,
    pub channel: &'a OwnedFd,
    pub supervisor: &'a OwnedFd,
    pub argv: &'a [String],
    pub env: &'a [(String, String)],
    pub uid: u32,
    pub gid: u32,
    /// False in a user namespace with one uid: there is nobody else to become.
    pub changes_user: bool,
    /// False without root: see `enter_empty_namespace` in host.rs.
    pub is_old_root_empty: bool,
    /// Only where no pids cgroup counts.
    pub processes_max: Option<u64>,
    pub filter: &'a Filter,
    pub landlock_abi: u32,
    pub nice: i32,
}

struct Child<'a> {
    plan: &'a Plan<'a>,
    root: Option<OwnedFd>,
    listener: Option<OwnedFd>,
    network_us: i32,
}

type Step = fn(&mut Child) -> io::Result<()>;

/// The supervisor's way, in order.
const STEPS: [(&str, Step); 14] = [
    ("parent", die_with_parent),
    ("network", enter_network),
    ("root", make_root),
    ("mounts", place_trees),
    ("dev", fill_dev),
    ("proc", mount_proc),
    ("tmp", mount_tmp),
    ("enter_root", enter_root),
    ("cgroup.join", join_cgroups),
    ("names", set_names),
    ("limits", set_limits),
    ("platform-api", listen),
    ("no_new_privs", no_new_privileges),
    ("seccomp", install_filter),
];

/// Runs in the forked child and never returns.
pub fn run(plan: &Plan) -> ! {
    let status = plan.status.as_raw_fd();
    let mut child = Child { plan, root: None, listener: None, network_us: 0 };
    for (step, perform) in STEPS {
        if let Err(error) = perform(&mut child) {
            fail(status, step, &error);
        }
    }
    let (out, err) = match (sys::pipe(0), sys::pipe(0)) {
        (Ok(out), Ok(err)) => (out, err),
        (Err(error), _) | (_, Err(error)) => fail(status, "pipes", &error),
    };
    let signals = match sys::signal_fd(&[libc::SIGCHLD]) {
        Ok(signals) => signals,
        Err(error) => fail(status, "signals", &error),
    };
    let runtime = match sys::fork_until_exec() {
        Ok(0) => runtime::run(&mut child, out.1.as_raw_fd(), err.1.as_raw_fd()),
        Ok(pid) => pid,
        Err(error) => fail(status, "fork", &error),
    };
    let _ = sys::write(status, &Status::Started { network_us: child.network_us }.encode());
    let listener = child.listener.take().map_or(-1, IntoRawFd::into_raw_fd);
    let kept = supervisor::Descriptors {
        status,
        channel: plan.supervisor.as_raw_fd(),
        out: out.0.into_raw_fd(),
        err: err.0.into_raw_fd(),
        signals: signals.into_raw_fd(),
        listener,
    };
    drop((out.1, err.1));
    if let Err(error) = retire(&mut child) {
        let _ = sys::kill(runtime, libc::SIGKILL);
        fail(status, "supervisor", &error);
    }
    supervisor::run(kept, runtime, epoch(plan))
}

fn epoch<'a>(plan: &'a Plan) -> &'a str {
    plan.env.iter().find(|(name, _)| name == "HEARTH_EPOCH").map_or("", |(_, value)| value.as_str())
}

fn die_with_parent(child: &mut Child) -> io::Result<()> {
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)?;
    // The parent may have died before that call; then nobody reads the status pipe.
    let mut poll = libc::pollfd { fd: child.plan.status.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one entry, which lives over the call.
    sys::check_int(unsafe { libc::poll(&mut poll, 1, 0) })?;
    if poll.revents & libc::POLLERR != 0 {
        sys::exit(127);
    }
    sys::set_name("hearth-guest");
    // The supervisor shares the launcher's arguments, which name folders of the host.
    crate::arguments::scrub();
    // A session of its own: no terminal of the launcher's.
    // SAFETY: takes nothing.
    unsafe { libc::setsid() };
    Ok(())
}

/// As late as can be, which is before `names` hides where it is: until here it has the launcher's share of the CPU, then its own.
fn join_cgroups(child: &mut Child) -> io::Result<()> {
    // Without a byte the launcher is about to end this process, and knows why.
    if sys::read(child.plan.gate.as_raw_fd(), &mut [0])? == 0 {
        sys::exit(127);
    }
    child.plan.cgroups.join(child.plan.instance)
}

fn set_names(_: &mut Child) -> io::Result<()> {
    sys::set_hostname("hearth")?;
    // Hides the host's names of the cgroups; a kernel without it shows them.
    let _ = sys::unshare(libc::CLONE_NEWCGROUP);
    Ok(())
}
