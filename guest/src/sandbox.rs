//! The inside of a sandbox while it is being made: the forked child of the launcher becomes PID 1 (the supervisor), builds a
//! private root, forks the runtime and gives everything up. STEPS and RUNTIME_STEPS below are the order; each names itself in errors.
//!
//! The child starts in a copy of an empty mount namespace: there is nothing of the host in it to hide. What it may see came
//! over from the launcher as detached, read-only mounts.

use crate::landlock;
use crate::seccomp::Filter;
use crate::supervisor;
use crate::sys;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

pub const PLATFORM_API_PORT: u16 = 9010;
/// Swallowed by Node (a worker holds ~25), sqlite, and a server with thousands of connections alike.
const OPEN_FILES: u64 = 65_536;
const SHM_BYTES: &str = "16m";
/// Tells about the machine or its kernel, or acts on them. The rest of /proc is the sandbox's own, and read-only.
pub const PROC_MASKED: [&str; 12] = [
    "acpi",
    "asound",
    "kallsyms",
    "kcore",
    "keys",
    "kmsg",
    "latency_stats",
    "sched_debug",
    "scsi",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
];
const DEVICES: [(&str, u32); 5] = [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)];
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("var/opt", "opt"),
];

/// A detached mount and where it goes, relative to the new root.
pub struct Tree {
    pub target: String,
    pub mount: OwnedFd,
    pub is_dir: bool,
}

/// Everything the child needs, gathered by the launcher before the fork.
pub struct Plan<'a> {
    pub joins: &'a [OwnedFd],
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
}

/// What the sandbox tells the launcher over its status pipe, in records that a pipe writes at once.
#[derive(Debug, PartialEq, Eq)]
pub enum Status {
    Failed { step: String, errno: i32 },
    Started,
    Ended(sys::Ended),
}

pub const STATUS_BYTES: usize = 64;

impl Status {
    pub fn encode(&self) -> [u8; STATUS_BYTES] {
        let mut record = [0u8; STATUS_BYTES];
        let (kind, number, text) = match self {
            Status::Failed { step, errno } => (1, *errno, step.as_str()),
            Status::Started => (2, 0, ""),
            Status::Ended(sys::Ended::Exited(code)) => (3, *code, ""),
            Status::Ended(sys::Ended::Signalled(signal)) => (4, *signal, ""),
        };
        let length = text.len().min(STATUS_BYTES - 6);
        record[0] = kind;
        record[1] = length as u8;
        record[2..6].copy_from_slice(&number.to_le_bytes());
        record[6..6 + length].copy_from_slice(&text.as_bytes()[..length]);
        record
    }

    pub fn decode(record: &[u8; STATUS_BYTES]) -> Option<Status> {
        let number = i32::from_le_bytes([record[2], record[3], record[4], record[5]]);
        let text = record.get(6..6 + usize::from(record[1]))?;
        match record[0] {
            1 => Some(Status::Failed { step: String::from_utf8_lossy(text).into_owned(), errno: number }),
            2 => Some(Status::Started),
            3 => Some(Status::Ended(sys::Ended::Exited(number))),
            4 => Some(Status::Ended(sys::Ended::Signalled(number))),
            _ => None,
        }
    }
}

struct Child<'a> {
    plan: &'a Plan<'a>,
    root: Option<OwnedFd>,
    listener: Option<OwnedFd>,
}

type Step = fn(&mut Child) -> io::Result<()>;

/// The supervisor's way, in order.
const STEPS: [(&str, Step); 14] = [
    ("parent", die_with_parent),
    ("cgroup.join", join_cgroups),
    ("network", enter_network),
    ("root", make_root),
    ("mounts", place_trees),
    ("dev", fill_dev),
    ("proc", mount_proc),
    ("tmp", mount_tmp),
    ("pivot_root", enter_root),
    ("names", set_names),
    ("limits", set_limits),
    ("platform-api", listen),
    ("no_new_privs", no_new_privileges),
    ("seccomp", install_filter),
];

/// The runtime's way from its fork to its exec.
const RUNTIME_STEPS: [(&str, Step); 3] = [("user", give_up_user), ("landlock", fence_files), ("cwd", enter_task)];

/// Runs in the forked child and never returns.
pub fn run(plan: &Plan) -> ! {
    let mut child = Child { plan, root: None, listener: None };
    for (step, perform) in STEPS {
        if let Err(error) = perform(&mut child) {
            fail(plan, step, &error);
        }
    }
    let (out, err) = match (sys::pipe(0), sys::pipe(0)) {
        (Ok(out), Ok(err)) => (out, err),
        (Err(error), _) | (_, Err(error)) => fail(plan, "pipes", &error),
    };
    let signals = match sys::signal_fd(&[libc::SIGCHLD]) {
        Ok(signals) => signals,
        Err(error) => fail(plan, "signals", &error),
    };
    let runtime = match sys::fork_until_exec() {
        Ok(0) => run_runtime(&mut child, out.1.as_raw_fd(), err.1.as_raw_fd()),
        Ok(pid) => pid,
        Err(error) => fail(plan, "fork", &error),
    };
    let _ = sys::write(plan.status.as_raw_fd(), &Status::Started.encode());
    let listener = child.listener.take().map_or(-1, IntoRawFd::into_raw_fd);
    let kept = supervisor::Descriptors {
        status: plan.status.as_raw_fd(),
        channel: plan.supervisor.as_raw_fd(),
        out: out.0.into_raw_fd(),
        err: err.0.into_raw_fd(),
        signals: signals.into_raw_fd(),
        listener,
    };
    drop((out.1, err.1));
    if let Err(error) = retire(&mut child) {
        let _ = sys::kill(runtime, libc::SIGKILL);
        fail(plan, "supervisor", &error);
    }
    supervisor::run(kept, runtime, epoch(plan))
}

fn epoch<'a>(plan: &'a Plan) -> &'a str {
    plan.env.iter().find(|(name, _)| name == "HEARTH_EPOCH").map_or("", |(_, value)| value.as_str())
}

fn fail(plan: &Plan, step: &str, error: &io::Error) -> ! {
    let status = Status::Failed { step: step.to_string(), errno: error.raw_os_error().unwrap_or(libc::EIO) };
    let _ = sys::write(plan.status.as_raw_fd(), &status.encode());
    sys::exit(127)
}

// ---- the supervisor's steps

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

fn join_cgroups(child: &mut Child) -> io::Result<()> {
    child.plan.joins.iter().try_for_each(|file| sys::write(file.as_raw_fd(), b"0").map(drop))
}

fn enter_network(child: &mut Child) -> io::Result<()> {
    match child.plan.network {
        Some(network) => sys::setns(network.as_raw_fd(), libc::CLONE_NEWNET),
        None => {
            sys::unshare(libc::CLONE_NEWNET)?;
            crate::netns::bring_loopback_up()
        }
    }
}

fn make_root(child: &mut Child) -> io::Result<()> {
    let root = sys::new_mount("tmpfs", &[("size", "1m"), ("mode", "755")], sys::MOUNT_ATTR_NOSUID)?;
    sys::move_mount(root.as_raw_fd(), libc::AT_FDCWD, "/")?;
    sys::fchdir(root.as_raw_fd())?;
    // SAFETY: takes a plain number.
    unsafe { libc::umask(0o022) };
    for folder in ["dev", "proc", "tmp", "mnt", "var"] {
        sys::mkdirat(libc::AT_FDCWD, folder, 0o755)?;
    }
    child.root = Some(root);
    Ok(())
}

fn place_trees(child: &mut Child) -> io::Result<()> {
    for tree in child.plan.trees {
        make_target(&tree.target, tree.is_dir)?;
        sys::move_mount(tree.mount.as_raw_fd(), libc::AT_FDCWD, &tree.target)?;
    }
    for (target, path) in child.plan.root_links {
        sys::symlinkat(target, libc::AT_FDCWD, path)?;
    }
    Ok(())
}

/// Makes a mount point and the folders above it.
fn make_target(path: &str, is_dir: bool) -> io::Result<()> {
    for (at, _) in path.match_indices('/') {
        exists_or(sys::mkdirat(libc::AT_FDCWD, &path[..at], 0o755))?;
    }
    if is_dir {
        return exists_or(sys::mkdirat(libc::AT_FDCWD, path, 0o755));
    }
    sys::openat(libc::AT_FDCWD, path, libc::O_CREAT | libc::O_RDONLY | libc::O_NOFOLLOW, 0o644).map(drop)
}

fn exists_or(made: io::Result<()>) -> io::Result<()> {
    match made {
        // EROFS: below a read-only bind, where it may exist all the same; moving the mount there tells.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EEXIST | libc::EROFS)) => Ok(()),
        made => made,
    }
}

fn fill_dev(child: &mut Child) -> io::Result<()> {
    if child.plan.devices.is_empty() {
        // SAFETY: takes a plain number. The nodes are for everybody.
        unsafe { libc::umask(0) };
        for (name, minor) in DEVICES {
            sys::mknod_char(libc::AT_FDCWD, &format!("dev/{name}"), 1, minor)?;
        }
        // SAFETY: takes a plain number.
        unsafe { libc::umask(0o022) };
    }
    for tree in child.plan.devices {
        make_target(&tree.target, false)?;
        sys::move_mount(tree.mount.as_raw_fd(), libc::AT_FDCWD, &tree.target)?;
    }
    for (target, path) in LINKS {
        sys::symlinkat(target, libc::AT_FDCWD, path)?;
    }
    sys::mkdirat(libc::AT_FDCWD, "dev/shm", 0o755)?;
    let options = [("size", SHM_BYTES), ("mode", "1777"), ("nr_inodes", "4096")];
    let shm = sys::new_mount("tmpfs", &options, sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV)?;
    sys::move_mount(shm.as_raw_fd(), libc::AT_FDCWD, "dev/shm")
}

fn mount_proc(child: &mut Child) -> io::Result<()> {
    let attributes = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
    let proc = sys::new_mount("proc", &[("hidepid", "invisible")], attributes)
        .or_else(|_| sys::new_mount("proc", &[("hidepid", "2")], attributes))
        .or_else(|_| sys::new_mount("proc", &[], attributes))?;
    sys::move_mount(proc.as_raw_fd(), libc::AT_FDCWD, "proc")?;
    offer_to_oom_killer()?;
    // Read-only as a whole: writing /proc/sys is what matters, and the rest is seldom written.
    sys::mount_setattr(proc.as_raw_fd(), sys::MOUNT_ATTR_RDONLY, 0, false)?;
    for (name, is_dir) in child.plan.proc_masked {
        let mask = if *is_dir { "mnt" } else { "dev/null" };
        sys::mount(mask, &format!("proc/{name}"), "", libc::MS_BIND, "")?;
    }
    Ok(())
}

/// When memory runs out, the runtime and its children go first: before their supervisor, which the launcher takes out again once
/// the runtime is forked, and before the platform, should the whole machine run out.
fn offer_to_oom_killer() -> io::Result<()> {
    let file = sys::openat(libc::AT_FDCWD, "proc/self/oom_score_adj", libc::O_WRONLY, 0)?;
    sys::write(file.as_raw_fd(), b"500").map(drop)
}

fn mount_tmp(child: &mut Child) -> io::Result<()> {
    sys::move_mount(child.plan.tmp.as_raw_fd(), libc::AT_FDCWD, "tmp")
}

/// The old root is the empty, read-only tmpfs that every sandbox starts from (as root). It stays, on /mnt: unmounting it would wait for
/// the kernel's other CPUs, 0.1 to 0.3 ms of a start.
fn enter_root(child: &mut Child) -> io::Result<()> {
    if let Some(root) = child.root.take() {
        sys::mount_setattr(root.as_raw_fd(), sys::MOUNT_ATTR_RDONLY, 0, false)?;
    }
    sys::pivot_root(".", "mnt")?;
    if !child.plan.is_old_root_empty {
        sys::unmount("mnt")?;
    }
    sys::chdir("/")
}

fn set_names(_: &mut Child) -> io::Result<()> {
    sys::set_hostname("hearth")?;
    // Hides the host's names of the cgroups; a kernel without it shows them.
    let _ = sys::unshare(libc::CLONE_NEWCGROUP);
    Ok(())
}

fn set_limits(child: &mut Child) -> io::Result<()> {
    sys::set_rlimit(libc::RLIMIT_CORE, 0, 0)?;
    if sys::set_rlimit(libc::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES).is_err() {
        let hard = sys::hard_limit(libc::RLIMIT_NOFILE)?.min(OPEN_FILES);
        sys::set_rlimit(libc::RLIMIT_NOFILE, hard, hard)?;
    }
    match child.plan.processes_max {
        Some(max) => sys::set_rlimit(libc::RLIMIT_NPROC, max, max),
        None => Ok(()),
    }
}

/// 127.0.0.1:9010 listens before the runtime runs.
fn listen(child: &mut Child) -> io::Result<()> {
    let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    let fd = socket.as_raw_fd();
    let one: libc::c_int = 1;
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: PLATFORM_API_PORT.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(std::net::Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: option and address live over their calls, and the lengths are theirs.
    unsafe {
        let one = (&one as *const libc::c_int).cast();
        sys::check_int(libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, one, 4))?;
        let length = std::mem::size_of::<libc::sockaddr_in>() as u32;
        sys::check_int(libc::bind(fd, (&address as *const libc::sockaddr_in).cast(), length))?;
        sys::check_int(libc::listen(fd, 64))?;
    }
    child.listener = Some(socket);
    Ok(())
}

/// Nothing that is exec'd from here on can gain a right: no capability is left to gain, and none is given.
fn no_new_privileges(_: &mut Child) -> io::Result<()> {
    sys::drop_bounding_set()?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// The last step that both have in common, so that the kernel compiles one filter. What is left to do is not on its list.
fn install_filter(child: &mut Child) -> io::Result<()> {
    child.plan.filter.install()
}

/// The supervisor gives up what the runtime gave up.
fn retire(child: &mut Child) -> io::Result<()> {
    give_up_user(child)?;
    // A change of user clears it.
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)?;
    sys::prctl(libc::PR_SET_DUMPABLE, 0)
}

// ---- the runtime's steps

fn run_runtime(child: &mut Child, out: RawFd, err: RawFd) -> ! {
    for (step, perform) in RUNTIME_STEPS {
        if let Err(error) = perform(child) {
            fail(child.plan, step, &error);
        }
    }
    let error = exec(child.plan, out, err).err().unwrap_or_else(io::Error::last_os_error);
    fail(child.plan, "exec", &error)
}

fn give_up_user(child: &mut Child) -> io::Result<()> {
    if child.plan.changes_user {
        sys::become_user(child.plan.uid, child.plan.gid)?;
    }
    sys::drop_capabilities()
}

fn fence_files(child: &mut Child) -> io::Result<()> {
    landlock::restrict(child.plan.landlock_abi)
}

fn enter_task(_: &mut Child) -> io::Result<()> {
    sys::chdir("/var/task").or_else(|_| sys::chdir("/"))
}

fn exec(plan: &Plan, out: RawFd, err: RawFd) -> io::Result<()> {
    let strings = |list: Vec<String>| list.iter().map(|text| sys::c(text)).collect::<io::Result<Vec<CString>>>();
    let argv = strings(plan.argv.to_vec())?;
    let env = strings(plan.env.iter().map(|(name, value)| format!("{name}={value}")).collect())?;
    let pointers = |list: &[CString]| {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<*const libc::c_char>>()
    };
    let (argv, env) = (pointers(&argv), pointers(&env));
    // Copies above 3 first, so that none is overwritten before it is used. They close on exec, the status pipe too: that is what
    // tells the launcher that the exec succeeded.
    let null = sys::openat(libc::AT_FDCWD, "/dev/null", libc::O_RDWR, 0)?;
    let null = sys::dup_above(null.as_raw_fd(), 10)?;
    let (out, err) = (sys::dup_above(out, 10)?, sys::dup_above(err, 10)?);
    let channel = sys::dup_above(plan.channel.as_raw_fd(), 10)?;
    for (from, to) in [(null, 0), (out, 1), (err, 2)] {
        sys::dup2(from, to)?;
    }
    // The descriptor 3 may be the status pipe, which has to live until the exec.
    let status = sys::dup_above(plan.status.as_raw_fd(), 10)?;
    sys::dup2(channel, 3)?;
    let mut keep = vec![0, 1, 2, 3, status];
    sys::close_all_but(&mut keep)?;
    sys::reset_signals();
    sys::set_signal_mask(&[])?;
    // SAFETY: all strings and both null-terminated lists live over the call, which returns only on failure.
    let result = unsafe { libc::execve(argv[0], argv.as_ptr(), env.as_ptr()) };
    let error = sys::check_int(result).err().unwrap_or_else(io::Error::last_os_error);
    let failed = Status::Failed { step: "exec".to_string(), errno: error.raw_os_error().unwrap_or(libc::EIO) };
    let _ = sys::write(status, &failed.encode());
    sys::exit(127)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_survives_the_pipe() {
        let rows = [
            Status::Failed { step: "mount.proc".to_string(), errno: 1 },
            Status::Started,
            Status::Ended(sys::Ended::Exited(3)),
            Status::Ended(sys::Ended::Signalled(9)),
        ];
        for status in rows {
            assert_eq!(Status::decode(&status.encode()), Some(status));
        }
        assert_eq!(Status::decode(&[0; STATUS_BYTES]), None);
        let long = Status::Failed { step: "x".repeat(100), errno: 5 };
        let Some(Status::Failed { step, errno: 5 }) = Status::decode(&long.encode()) else { panic!("lost") };
        assert_eq!(step.len(), 58);
    }
}
