//! The runtime's process: its way from the fork to its exec, and the descriptors that init keeps of it.

use super::message::Configure;
use crate::cgroup::Group;
use crate::error::{Context, Error};
use crate::outputs::Outputs;
use crate::sys::{self, Pid};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

const STEP: &str = "init.runtime";
pub const UID: u32 = 1000;
/// Swallowed by Node (a worker holds ~25), sqlite, and a server with thousands of connections alike.
const OPEN_FILES: u64 = 65_536;

pub struct Runtime {
    pub pid: Pid,
    /// The other end of its descriptor 3; does not block.
    pub socket: OwnedFd,
    pub outputs: Outputs,
}

/// Everything the child needs, gathered before the fork.
struct Plan {
    cgroup: OwnedFd,
    argv: Vec<CString>,
    env: Vec<CString>,
    channel: OwnedFd,
    out: OwnedFd,
    err: OwnedFd,
    status: OwnedFd,
}

type Step = fn(&Plan) -> io::Result<()>;

/// The child's way, in order; each step names itself in errors.
const STEPS: [(&str, Step); 7] = [
    ("session", begin_session),
    ("cgroup.join", join_cgroup),
    ("limits", set_limits),
    ("no_new_privs", no_new_privileges),
    ("user", give_up_user),
    ("cwd", |_| sys::chdir("/")),
    ("exec", exec),
];

/// Starts the runtime in its cgroup; returns when it has been exec'd.
pub fn start(message: &Configure, group: &Group) -> Result<Runtime, Error> {
    let prepare = || -> io::Result<_> {
        let (ours, theirs) = sys::socketpair(libc::SOCK_STREAM)?;
        let (out, err, status) = (sys::pipe(0)?, sys::pipe(0)?, sys::pipe(0)?);
        for fd in [&ours, &out.0, &err.0, &status.0] {
            sys::set_nonblocking(fd.as_raw_fd())?;
        }
        let strings = |list: Vec<String>| list.iter().map(|text| sys::c(text)).collect::<io::Result<Vec<CString>>>();
        let others = message.env.iter().filter(|(name, _)| name != "HEARTH_EPOCH");
        let pairs = others.map(|(name, value)| format!("{name}={value}"));
        let plan = Plan {
            cgroup: group.open_procs()?,
            argv: strings(message.argv.clone())?,
            env: strings(pairs.chain([format!("HEARTH_EPOCH={}", message.epoch)]).collect())?,
            channel: theirs,
            out: out.1,
            err: err.1,
            // Out of the way of the descriptors that the runtime gets: it is written to last.
            status: sys::own_above(status.1, 10)?,
        };
        Ok((plan, ours, out.0, err.0, status.0))
    };
    let (plan, socket, out, err, status) = prepare().at(STEP, || "prepare the runtime's descriptors".to_string())?;
    let pid = match sys::fork_until_exec().at(STEP, || "fork the runtime".to_string())? {
        0 => run(&plan),
        pid => pid,
    };
    drop(plan);
    let mut record = [0u8; 64];
    // Closed by the exec; otherwise it holds the step and the error of a child that has ended.
    if let Ok(count @ 4..) = sys::read(status.as_raw_fd(), &mut record) {
        let step = String::from_utf8_lossy(&record[4..count]).into_owned();
        let errno = i32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
        let _ = sys::wait(pid);
        return Err(Error::Sandbox { step, errno });
    }
    let outputs = Outputs::new(out.into_raw_fd(), err.into_raw_fd());
    Ok(Runtime { pid, socket, outputs })
}

fn run(plan: &Plan) -> ! {
    for (step, perform) in STEPS {
        if let Err(error) = perform(plan) {
            let mut record = error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes().to_vec();
            record.extend_from_slice(step.as_bytes());
            let _ = sys::write(plan.status.as_raw_fd(), &record);
            break;
        }
    }
    sys::exit(127)
}

/// A session of its own: no terminal.
fn begin_session(_: &Plan) -> io::Result<()> {
    // SAFETY: takes nothing.
    sys::check_int(unsafe { libc::setsid() }).map(drop)
}

fn join_cgroup(plan: &Plan) -> io::Result<()> {
    sys::write(plan.cgroup.as_raw_fd(), b"0").map(drop)
}

fn set_limits(_: &Plan) -> io::Result<()> {
    sys::set_rlimit(libc::RLIMIT_CORE, 0, 0)?;
    sys::set_rlimit(libc::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES)?;
    // The cgroup counts processes; the kernel's own guess goes by the memory of the machine.
    sys::set_rlimit(libc::RLIMIT_NPROC, libc::RLIM_INFINITY, libc::RLIM_INFINITY)
}

/// Nothing that is exec'd from here on can gain a right.
fn no_new_privileges(_: &Plan) -> io::Result<()> {
    sys::drop_bounding_set()?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

fn give_up_user(_: &Plan) -> io::Result<()> {
    sys::become_user(UID, UID)?;
    sys::drop_capabilities()
}

fn exec(plan: &Plan) -> io::Result<()> {
    let pointers = |list: &[CString]| {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<*const libc::c_char>>()
    };
    let (argv, env) = (pointers(&plan.argv), pointers(&plan.env));
    let null = sys::openat(libc::AT_FDCWD, "/dev/null", libc::O_RDONLY, 0)?;
    // Copies above 3 first, so that none is overwritten before it is used; they close on exec.
    let sources = [&null, &plan.out, &plan.err, &plan.channel].map(|fd| sys::dup_above(fd.as_raw_fd(), 10));
    for (to, from) in sources.into_iter().enumerate() {
        sys::dup2(from?, to as i32)?;
    }
    sys::reset_signals();
    sys::set_signal_mask(&[])?;
    // SAFETY: all strings and both null-terminated lists live over the call, which returns only on failure.
    sys::check_int(unsafe { libc::execve(argv[0], argv.as_ptr(), env.as_ptr()) }).map(drop)
}
