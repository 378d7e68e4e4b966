//! The forked child of `vm_spawn` on its way to be the VMM: a private root, no rights, its descriptors, exec. STEPS is the order.
//!
//! It starts in an empty mount namespace, as PID 1 of a pid namespace. It does not die with its parent: VMs outlive the launcher.

use super::place::FOLDER;
use crate::cgroup::Cgroups;
use crate::sandbox::{fail, place, place_proc, Tree};
use crate::seccomp::Filter;
use crate::sys;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

const OPEN_FILES: u64 = 4_096;

/// Everything the child needs, gathered by the launcher before the fork.
pub struct Plan<'a> {
    pub instance: &'a str,
    pub cgroups: &'a Cgroups,
    /// From the pool; without it the child makes one.
    pub network: Option<&'a OwnedFd>,
    /// Where the child opens the tap of a network that it makes; None: it needs none.
    pub tap_folder: Option<RawFd>,
    pub trees: &'a [Tree],
    pub links: &'a [(String, String)],
    /// (name, major, minor); none where mknod is not allowed.
    pub nodes: &'a [(&'static str, u32, u32)],
    pub proc_masked: &'a [(&'static str, bool)],
    pub filter: &'a Filter,
    pub null: &'a OwnedFd,
    pub stderr: &'a OwnedFd,
    pub status: &'a OwnedFd,
    /// From descriptor 3 on; a tap that the child makes comes after them.
    pub inputs: &'a [RawFd],
    pub program: &'a str,
    pub argv: &'a [String],
    pub uid: u32,
    pub nice: i32,
}

struct Child<'a> {
    plan: &'a Plan<'a>,
    /// That the child made.
    tap: Option<OwnedFd>,
    jails: Option<&'a OwnedFd>,
}

type Step = fn(&mut Child) -> io::Result<()>;

const STEPS: [(&str, Step); 10] = [
    ("session", leave_session),
    ("cgroup.join", join_cgroups),
    ("network", enter_network),
    ("root", make_root),
    ("proc", |child| place_proc(child.plan.proc_masked, || ())),
    ("pivot_root", enter_root),
    ("names", |_| sys::set_hostname("hearth")),
    ("limits", set_limits),
    ("user", give_up_rights),
    ("exec", exec),
];

/// The jailer's way: it keeps root's rights, since it takes them from Firecracker itself.
const JAIL_STEPS: [(&str, Step); 8] = [
    ("session", leave_session),
    ("cgroup.join", join_cgroups),
    ("network", enter_network),
    ("tap", give_tap_away),
    ("jail", enter_jail),
    ("names", |_| sys::set_hostname("hearth")),
    ("no_new_privs", |_| {
        sys::set_rlimit(libc::RLIMIT_CORE, 0, 0)?;
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
    }),
    ("exec", exec),
];

/// Runs in the forked child and never returns.
pub fn run(plan: &Plan) -> ! {
    perform_all(&mut Child { plan, tap: None, jails: None }, &STEPS)
}

/// The same for a jailer; `jails` is the folder of all jails.
pub fn run_jailer(plan: &Plan, jails: &OwnedFd) -> ! {
    perform_all(&mut Child { plan, tap: None, jails: Some(jails) }, &JAIL_STEPS)
}

fn perform_all(child: &mut Child, steps: &[(&str, Step)]) -> ! {
    let plan = child.plan;
    for (step, perform) in steps {
        if let Err(error) = perform(child) {
            fail(plan.status.as_raw_fd(), step, &error);
        }
    }
    sys::exit(127)
}

fn leave_session(child: &mut Child) -> io::Result<()> {
    sys::set_name("hearth-vm");
    sys::set_priority(child.plan.nice)?;
    // SAFETY: takes nothing.
    unsafe { libc::setsid() };
    Ok(())
}

fn join_cgroups(child: &mut Child) -> io::Result<()> {
    child.plan.cgroups.join(child.plan.instance)
}

fn enter_network(child: &mut Child) -> io::Result<()> {
    if let Some(network) = child.plan.network {
        return sys::setns(network.as_raw_fd(), libc::CLONE_NEWNET);
    }
    sys::unshare(libc::CLONE_NEWNET)?;
    crate::netns::bring_loopback_up()?;
    if let Some(folder) = child.plan.tap_folder {
        child.tap = Some(crate::tap::make(folder)?);
    }
    Ok(())
}

/// Firecracker attaches to it by its name, when nobody else has it.
fn give_tap_away(child: &mut Child) -> io::Result<()> {
    match child.tap.take() {
        Some(tap) => crate::tap::set_owner(tap.as_raw_fd(), child.plan.uid),
        None => Ok(()),
    }
}

fn enter_jail(child: &mut Child) -> io::Result<()> {
    child.jails.map_or(Ok(()), |jails| super::jail::enter(jails, child.plan.trees))
}

fn make_root(child: &mut Child) -> io::Result<()> {
    let plan = child.plan;
    let root = sys::new_mount("tmpfs", &[("size", "1m"), ("mode", "755")], sys::MOUNT_ATTR_NOSUID)?;
    sys::move_mount(root.as_raw_fd(), libc::AT_FDCWD, "/")?;
    sys::fchdir(root.as_raw_fd())?;
    // SAFETY: takes a plain number. Device nodes are for the VMM's user.
    unsafe { libc::umask(0) };
    for folder in ["dev", "proc", "mnt"] {
        sys::mkdirat(libc::AT_FDCWD, folder, 0o755)?;
    }
    sys::mkdirat(libc::AT_FDCWD, FOLDER, 0o755)?;
    let placed = sys::new_mount("tmpfs", &[("size", "64k"), ("mode", "755")], sys::MOUNT_ATTR_NOSUID)?;
    sys::move_mount(placed.as_raw_fd(), libc::AT_FDCWD, FOLDER)?;
    for (name, major, minor) in plan.nodes {
        sys::mknod_char(libc::AT_FDCWD, &format!("dev/{name}"), *major, *minor)?;
    }
    // SAFETY: takes a plain number.
    unsafe { libc::umask(0o022) };
    place(plan.trees, plan.links)
}

/// The old root, an empty tmpfs, stays on /mnt as in every sandbox.
fn enter_root(_: &mut Child) -> io::Result<()> {
    let root = sys::openat(libc::AT_FDCWD, ".", libc::O_PATH | libc::O_DIRECTORY, 0)?;
    sys::mount_setattr(root.as_raw_fd(), sys::MOUNT_ATTR_RDONLY, 0, false)?;
    sys::pivot_root(".", "mnt")?;
    sys::chdir("/")
}

fn set_limits(_: &mut Child) -> io::Result<()> {
    sys::set_rlimit(libc::RLIMIT_CORE, 0, 0)?;
    let files = sys::hard_limit(libc::RLIMIT_NOFILE)?.min(OPEN_FILES);
    sys::set_rlimit(libc::RLIMIT_NOFILE, files, files)
}

/// The filter is the sandboxes' own: what it denies, no VMM needs that is started so.
fn give_up_rights(child: &mut Child) -> io::Result<()> {
    let plan = child.plan;
    sys::drop_bounding_set()?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    plan.filter.install()?;
    sys::become_user(plan.uid, plan.uid)?;
    sys::drop_capabilities()
}

fn exec(child: &mut Child) -> io::Result<()> {
    let plan = child.plan;
    let given: Vec<RawFd> = plan.inputs.iter().copied().chain(child.tap.as_ref().map(|tap| tap.as_raw_fd())).collect();
    let words: Vec<CString> =
        [plan.program.to_string()].iter().chain(plan.argv).map(|word| sys::c(word)).collect::<io::Result<_>>()?;
    let argv: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect();
    let path = sys::c("PATH=/usr/bin:/bin")?;
    let env = [path.as_ptr(), std::ptr::null()];
    // Copies above the last number first, so that none is overwritten before it is used. They close on exec, the status pipe too:
    // that is what tells the launcher that the exec succeeded.
    let above = 3 + given.len() as RawFd;
    let copy = |fd: RawFd| sys::dup_above(fd, above);
    let (null, stderr) = (copy(plan.null.as_raw_fd())?, copy(plan.stderr.as_raw_fd())?);
    let status = copy(plan.status.as_raw_fd())?;
    let inputs: Vec<RawFd> = given.iter().map(|fd| copy(*fd)).collect::<io::Result<_>>()?;
    for (number, fd) in [null, null, stderr].into_iter().chain(inputs).enumerate() {
        sys::dup2(fd, number as RawFd)?;
    }
    let mut keep: Vec<RawFd> = (0..above).chain([status]).collect();
    sys::close_all_but(&mut keep)?;
    sys::reset_signals();
    sys::set_signal_mask(&[])?;
    // SAFETY: all strings and both null-terminated lists live over the call, which returns only on failure.
    let failed = sys::check_int(unsafe { libc::execve(argv[0], argv.as_ptr(), env.as_ptr()) });
    // The plan's own descriptors are closed by now.
    fail(status, "exec", &failed.err().unwrap_or(io::Error::from_raw_os_error(libc::EIO)))
}
