//! Processes and namespaces: making them, waiting for them, ending them.

use super::{c, check, check_int};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

pub type Pid = libc::pid_t;

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

pub fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: takes a plain number.
    check_int(unsafe { libc::unshare(flags) }).map(drop)
}

pub fn setns(fd: RawFd, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::setns(fd, kind) }).map(drop)
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks into new namespaces, and into `cgroup` (a v2 folder) when given. The child gets None.
/// The process must be single-threaded: the child goes on with a copy of its memory.
pub fn clone3(namespaces: libc::c_int, cgroup: Option<RawFd>) -> io::Result<Option<(Pid, OwnedFd)>> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: namespaces as u64 | libc::CLONE_PIDFD as u64,
        pidfd: &mut pidfd as *mut RawFd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd as u64;
    }
    // SAFETY: no CLONE_VM, so the child has memory of its own; `args` lives over the call and the size is its size.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &args, std::mem::size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: CLONE_PIDFD stored a new descriptor that is ours alone.
    Ok(Some((pid as Pid, unsafe { OwnedFd::from_raw_fd(pidfd) })))
}

/// Forks; the parent goes on only when the child has exec'd or ended, so the child has the CPU to itself.
pub fn fork_until_exec() -> io::Result<Pid> {
    let flags = libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: no CLONE_VM, so the child has memory of its own; a null stack means a copy of ours.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags as libc::c_long, 0, 0, 0, 0) })?;
    Ok(pid as Pid)
}

pub fn fork() -> io::Result<Pid> {
    // SAFETY: the process is single-threaded, so the child may go on as it is.
    check_int(unsafe { libc::fork() })
}

pub fn exit(code: i32) -> ! {
    // SAFETY: ends the process without running destructors, as a forked child must.
    unsafe { libc::_exit(code) }
}

pub fn kill(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// A descriptor of any process, child or not; it becomes readable when the process ends.
pub fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes plain numbers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// True for a process that has ended, reaped or not; one that is not yet reaped still takes signals.
pub fn has_ended(pidfd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd: pidfd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which lives over the call.
    unsafe { libc::poll(&mut poll, 1, 0) > 0 }
}

pub fn pidfd_kill(pidfd: RawFd, signal: i32) -> io::Result<()> {
    let null = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo means the default one.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, null, 0) }).map(drop)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Exited(i32),
    Signalled(i32),
}

impl Ended {
    /// The shell's convention: 128 + signal.
    pub fn status(self) -> i32 {
        match self {
            Ended::Exited(code) => code,
            Ended::Signalled(signal) => 128 + signal,
        }
    }
}

/// Reaps a child that has ended, without waiting. `pid` -1 means any.
pub fn reap(pid: Pid) -> io::Result<Option<(Pid, Ended)>> {
    wait_with(pid, libc::WNOHANG)
}

/// Waits for the end of a child.
pub fn wait(pid: Pid) -> io::Result<Ended> {
    loop {
        match wait_with(pid, 0) {
            Ok(Some((_, ended))) => return Ok(ended),
            Err(error) if error.raw_os_error() != Some(libc::EINTR) => return Err(error),
            _ => {}
        }
    }
}

fn wait_with(pid: Pid, flags: i32) -> io::Result<Option<(Pid, Ended)>> {
    let mut status = 0;
    // SAFETY: `status` lives over the call.
    let reaped = check_int(unsafe { libc::waitpid(pid, &mut status, flags) })?;
    if reaped == 0 {
        return Ok(None);
    }
    let ended = if libc::WIFSIGNALED(status) {
        Ended::Signalled(libc::WTERMSIG(status))
    } else {
        Ended::Exited(libc::WEXITSTATUS(status))
    };
    Ok(Some((reaped, ended)))
}

pub fn prctl(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the options used here take numbers only.
    check_int(unsafe { libc::prctl(option, value, 0, 0, 0) }).map(drop)
}

pub fn set_name(name: &str) {
    if let Ok(name) = c(name) {
        // SAFETY: the kernel copies at most 16 bytes of a NUL-terminated string.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    }
}

pub fn hostname() -> String {
    let mut name = [0u8; 256];
    // SAFETY: the kernel writes at most `name.len()` bytes into `name`.
    unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) };
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..length]).into_owned()
}

/// Fresh randomness from the kernel.
pub fn draw_random(bytes: &mut [u8]) -> io::Result<()> {
    // SAFETY: the kernel fills at most `bytes.len()` bytes; up to 256 come at once and whole.
    check(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } as libc::c_long).map(drop)
}

pub fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: the kernel reads `name.len()` bytes.
    check_int(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}
