//! Thin wrappers of the system calls that std lacks. Each checks the result and returns `io::Result`; nothing here decides.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

pub type Pid = libc::pid_t;

pub const MOUNT_ATTR_RDONLY: u64 = 0x1;
pub const MOUNT_ATTR_NOSUID: u64 = 0x2;
pub const MOUNT_ATTR_NODEV: u64 = 0x4;
pub const MOUNT_ATTR_NOEXEC: u64 = 0x8;
pub const READ_ONLY: u64 = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

pub const RESOLVE_NO_SYMLINKS: u64 = 0x04;
pub const RESOLVE_BENEATH: u64 = 0x08;

const OPEN_TREE_CLONE: u32 = 1;
const AT_RECURSIVE: u32 = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSPICK_CLOEXEC: u32 = 1;
const FSPICK_EMPTY_PATH: u32 = 8;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSCONFIG_CMD_RECONFIGURE: u32 = 7;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

pub fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

pub fn check_int(result: libc::c_int) -> io::Result<libc::c_int> {
    check(libc::c_long::from(result)).map(|_| result)
}

fn own(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A C string; a NUL inside is EINVAL. Paths were checked before, so this does not happen.
pub fn c(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn empty() -> &'static CStr {
    CStr::from_bytes_with_nul(b"\0").unwrap_or_default()
}

// ---- files

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

pub fn openat2(dir: RawFd, path: &str, flags: i32, mode: u32, resolve: u64) -> io::Result<OwnedFd> {
    let path = c(path)?;
    let how = OpenHow { flags: (flags | libc::O_CLOEXEC) as u64, mode: u64::from(mode), resolve };
    // SAFETY: `path` and `how` live over the call, and the size is that of `how`.
    own(unsafe { libc::syscall(libc::SYS_openat2, dir, path.as_ptr(), &how, std::mem::size_of::<OpenHow>()) })
}

pub fn openat(dir: RawFd, path: &str, flags: i32, mode: u32) -> io::Result<OwnedFd> {
    let path = c(path)?;
    // SAFETY: `path` is NUL-terminated and lives over the call.
    own(libc::c_long::from(unsafe { libc::openat(dir, path.as_ptr(), flags | libc::O_CLOEXEC, mode) }))
}

pub fn mkdirat(dir: RawFd, path: &str, mode: u32) -> io::Result<()> {
    let path = c(path)?;
    // SAFETY: `path` is NUL-terminated and lives over the call.
    check_int(unsafe { libc::mkdirat(dir, path.as_ptr(), mode) }).map(drop)
}

pub fn symlinkat(target: &str, dir: RawFd, path: &str) -> io::Result<()> {
    let (target, path) = (c(target)?, c(path)?);
    // SAFETY: both strings are NUL-terminated and live over the call.
    check_int(unsafe { libc::symlinkat(target.as_ptr(), dir, path.as_ptr()) }).map(drop)
}

pub fn unlinkat(dir: RawFd, path: &str, flags: i32) -> io::Result<()> {
    let path = c(path)?;
    // SAFETY: `path` is NUL-terminated and lives over the call.
    check_int(unsafe { libc::unlinkat(dir, path.as_ptr(), flags) }).map(drop)
}

pub fn renameat(dir: RawFd, from: &str, to: &str) -> io::Result<()> {
    let (from, to) = (c(from)?, c(to)?);
    // SAFETY: both strings are NUL-terminated and live over the call.
    check_int(unsafe { libc::renameat(dir, from.as_ptr(), dir, to.as_ptr()) }).map(drop)
}

pub fn mknod_char(dir: RawFd, path: &str, major: u32, minor: u32) -> io::Result<()> {
    let path = c(path)?;
    // SAFETY: `path` is NUL-terminated and lives over the call.
    check_int(unsafe { libc::mknodat(dir, path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(major, minor)) })
        .map(drop)
}

pub fn fchown(fd: RawFd, uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::fchown(fd, uid, gid) }).map(drop)
}

/// Changes the owner of what an O_PATH descriptor names.
pub fn fchown_path(fd: RawFd, uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: the path is a NUL-terminated constant.
    check_int(unsafe { libc::fchownat(fd, empty().as_ptr(), uid, gid, libc::AT_EMPTY_PATH) }).map(drop)
}

pub fn fstat(fd: RawFd) -> io::Result<libc::stat> {
    // SAFETY: all zeroes is a valid `stat`, and the kernel fills it.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` lives over the call.
    check_int(unsafe { libc::fstat(fd, &mut stat) })?;
    Ok(stat)
}

pub fn is_dir(fd: RawFd) -> io::Result<bool> {
    Ok(fstat(fd)?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

pub fn fstatfs(fd: RawFd) -> io::Result<libc::statfs> {
    // SAFETY: all zeroes is a valid `statfs`, and the kernel fills it.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` lives over the call.
    check_int(unsafe { libc::fstatfs(fd, &mut stat) })?;
    Ok(stat)
}

pub fn read(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes into `buffer`.
    check(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) } as libc::c_long).map(|n| n as usize)
}

pub fn write(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel reads at most `bytes.len()` bytes of `bytes`.
    check(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } as libc::c_long).map(|n| n as usize)
}

/// Sends without SIGPIPE.
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel reads at most `bytes.len()` bytes of `bytes`.
    let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    check(sent as libc::c_long).map(|n| n as usize)
}

pub fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    let flags = check_int(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

pub fn set_blocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    let flags = check_int(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::fcntl(fd, libc::F_SETFL, flags & !libc::O_NONBLOCK) }).map(drop)
}

/// A duplicate with a number of at least `min`, closed on exec.
pub fn dup_above(fd: RawFd, min: RawFd) -> io::Result<RawFd> {
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, min) })
}

pub fn dup2(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::dup2(from, to) }).map(drop)
}

pub fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: callers run in a forked child that owns no OwnedFd it will still drop.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Closes every descriptor that is not in `keep`.
pub fn close_all_but(keep: &mut Vec<RawFd>) -> io::Result<()> {
    keep.sort_unstable();
    keep.dedup();
    let mut from = 0u32;
    for &fd in keep.iter() {
        if fd as u32 > from {
            close_range(from, fd as u32 - 1)?;
        }
        from = fd as u32 + 1;
    }
    close_range(from, u32::MAX)
}

pub fn pipe(flags: i32) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the kernel fills both descriptors.
    check_int(unsafe { libc::pipe2(fds.as_mut_ptr(), flags | libc::O_CLOEXEC) })?;
    // SAFETY: the kernel has just returned both to us alone.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

pub fn socketpair(kind: i32) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the kernel fills both descriptors.
    check_int(unsafe { libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()) })?;
    // SAFETY: the kernel has just returned both to us alone.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

pub fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes plain numbers.
    own(libc::c_long::from(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) }))
}

/// Bytes waiting in a pipe or socket.
pub fn readable_bytes(fd: RawFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    check_int(unsafe { libc::ioctl(fd, libc::FIONREAD, &mut bytes) })?;
    Ok(bytes as usize)
}

/// Connects to a UNIX socket that was opened with O_PATH: no length limit, and the very file that was looked at.
pub fn connect_unix(target: RawFd) -> io::Result<OwnedFd> {
    let socket = socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    // SAFETY: all zeroes is a valid `sockaddr_un`.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    let path = format!("/proc/self/fd/{target}");
    for (to, from) in address.sun_path.iter_mut().zip(path.bytes()) {
        *to = from as libc::c_char;
    }
    let length = std::mem::size_of::<libc::sockaddr_un>() as u32;
    // SAFETY: `address` lives over the call and `length` is its size.
    check_int(unsafe { libc::connect(socket.as_raw_fd(), (&address as *const libc::sockaddr_un).cast(), length) })?;
    Ok(socket)
}

/// Uid of the process that listens on (or made) the other end.
pub fn peer_uid(socket: RawFd) -> io::Result<u32> {
    // SAFETY: all zeroes is a valid `ucred`.
    let mut peer: libc::ucred = unsafe { std::mem::zeroed() };
    let mut length = std::mem::size_of::<libc::ucred>() as u32;
    // SAFETY: `peer` and `length` live over the call and fit together.
    check_int(unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&mut peer as *mut libc::ucred).cast(),
            &mut length,
        )
    })?;
    Ok(peer.uid)
}

/// Sends bytes, and a descriptor when given, as one message.
pub fn send_message(socket: RawFd, bytes: &[u8], fd: Option<RawFd>) -> io::Result<()> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr() as *mut libc::c_void, iov_len: bytes.len() };
    // Room for one descriptor, aligned as a control header must be.
    let mut control = [0u64; 4];
    // SAFETY: all zeroes is a valid `msghdr`; every pointer put in lives over the call; the control buffer of 32 bytes holds a
    // header and one descriptor (24 bytes), which is what the lengths say.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        if let Some(fd) = fd {
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(4) as _;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(4) as _;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
        }
        check(libc::sendmsg(socket, &message, libc::MSG_NOSIGNAL) as libc::c_long).map(drop)
    }
}

/// Receives one message and the descriptor that came with it; 0 bytes means the other end is gone.
pub fn receive_message(socket: RawFd, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = [0u64; 4];
    // SAFETY: as in `send_message`; the kernel fills at most the given lengths, and a descriptor it passes is ours alone.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as _;
        let count = check(libc::recvmsg(socket, &mut message, libc::MSG_CMSG_CLOEXEC) as libc::c_long)? as usize;
        let header = libc::CMSG_FIRSTHDR(&message);
        let has_fd =
            !header.is_null() && (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS;
        let fd = has_fd.then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()));
        Ok((count, fd))
    }
}

/// Takes a lock that the kernel lets go when every copy of the descriptor is closed. EAGAIN: somebody else has it.
pub fn try_lock(fd: RawFd) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::flock(fd, libc::LOCK_EX | libc::LOCK_NB) }).map(drop)
}

// ---- mounts

/// A detached copy of the tree at `path`; closing it unmounts it, unless it was moved somewhere.
pub fn open_tree(dir: RawFd, path: &str, recursive: bool) -> io::Result<OwnedFd> {
    let path = c(path)?;
    let flags = OPEN_TREE_CLONE
        | libc::O_CLOEXEC as u32
        | libc::AT_EMPTY_PATH as u32
        | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: `path` is NUL-terminated and lives over the call.
    own(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
}

#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Sets flags and, when `propagation` is not 0, the kind of propagation of a mount.
pub fn mount_setattr(mount: RawFd, set: u64, propagation: u64, recursive: bool) -> io::Result<()> {
    let attr = MountAttr { set, propagation, ..MountAttr::default() };
    let flags = libc::AT_EMPTY_PATH as u32 | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: `attr` lives over the call and the size is its size.
    check(unsafe {
        libc::syscall(libc::SYS_mount_setattr, mount, empty().as_ptr(), flags, &attr, std::mem::size_of::<MountAttr>())
    })
    .map(drop)
}

/// Attaches a detached mount at `path` below `dir`; an empty path means `dir` itself.
pub fn move_mount(mount: RawFd, dir: RawFd, path: &str) -> io::Result<()> {
    const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
    let path = c(path)?;
    let flags = MOVE_MOUNT_F_EMPTY_PATH | if path.as_bytes().is_empty() { MOVE_MOUNT_T_EMPTY_PATH } else { 0 };
    // SAFETY: both strings are NUL-terminated and live over the call.
    check(unsafe { libc::syscall(libc::SYS_move_mount, mount, empty().as_ptr(), dir, path.as_ptr(), flags) }).map(drop)
}

/// A new, detached filesystem, e.g. `("tmpfs", [("size", "1m")])`; an option without a value is a flag.
pub fn new_mount(kind: &str, options: &[(&str, &str)], attributes: u64) -> io::Result<OwnedFd> {
    let kind = c(kind)?;
    // SAFETY: `kind` is NUL-terminated and lives over the call.
    let context = own(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    configure(context.as_raw_fd(), options, FSCONFIG_CMD_CREATE)?;
    // SAFETY: takes plain numbers.
    own(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes) })
}

/// Changes options of the filesystem that `mount` shows, wherever it is mounted.
pub fn reconfigure(mount: RawFd, options: &[(&str, &str)]) -> io::Result<()> {
    // SAFETY: the path is a NUL-terminated constant.
    let context =
        own(unsafe { libc::syscall(libc::SYS_fspick, mount, empty().as_ptr(), FSPICK_CLOEXEC | FSPICK_EMPTY_PATH) })?;
    configure(context.as_raw_fd(), options, FSCONFIG_CMD_RECONFIGURE)
}

fn configure(context: RawFd, options: &[(&str, &str)], command: u32) -> io::Result<()> {
    let null = std::ptr::null::<libc::c_char>();
    for (key, value) in options {
        let (key, value) = (c(key)?, c(value)?);
        // SAFETY: both strings are NUL-terminated and live over the call.
        check(unsafe {
            if value.as_bytes().is_empty() {
                libc::syscall(libc::SYS_fsconfig, context, FSCONFIG_SET_FLAG, key.as_ptr(), null, 0)
            } else {
                libc::syscall(libc::SYS_fsconfig, context, FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr(), 0)
            }
        })?;
    }
    // SAFETY: a command takes no strings.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context, command, null, null, 0) }).map(drop)
}

/// `mount(2)` for what is simplest by path: binds inside a new root, propagation.
pub fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong, data: &str) -> io::Result<()> {
    let (source, target, kind, data) = (c(source)?, c(target)?, c(kind)?, c(data)?);
    // SAFETY: all four strings are NUL-terminated and live over the call.
    check_int(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) })
        .map(drop)
}

/// Detaches the mount at `path`, with all below it.
pub fn unmount(path: &str) -> io::Result<()> {
    let path = c(path)?;
    // SAFETY: `path` is NUL-terminated and lives over the call.
    check_int(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

/// Makes `new` the root of this mount namespace, and moves the old root to `old` below it.
pub fn pivot_root(new: &str, old: &str) -> io::Result<()> {
    let (new, old) = (c(new)?, c(old)?);
    // SAFETY: both paths are NUL-terminated and live over the call.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, new.as_ptr(), old.as_ptr()) }).map(drop)
}

pub fn chdir(path: &str) -> io::Result<()> {
    let path = c(path)?;
    // SAFETY: `path` is NUL-terminated and lives over the call.
    check_int(unsafe { libc::chdir(path.as_ptr()) }).map(drop)
}

pub fn fchdir(fd: RawFd) -> io::Result<()> {
    // SAFETY: takes a plain number.
    check_int(unsafe { libc::fchdir(fd) }).map(drop)
}

pub fn chroot_to_cwd() -> io::Result<()> {
    let dot = c(".")?;
    // SAFETY: the path is NUL-terminated and lives over the call.
    check_int(unsafe { libc::chroot(dot.as_ptr()) }).map(drop)
}

// ---- processes and namespaces

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

pub fn set_rlimit(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` lives over the call.
    check_int(unsafe { libc::setrlimit(resource, &limit) }).map(drop)
}

pub fn hard_limit(resource: libc::__rlimit_resource_t) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` lives over the call.
    check_int(unsafe { libc::getrlimit(resource, &mut limit) })?;
    Ok(limit.rlim_max)
}

pub fn geteuid() -> u32 {
    // SAFETY: cannot fail.
    unsafe { libc::geteuid() }
}

pub fn getegid() -> u32 {
    // SAFETY: cannot fail.
    unsafe { libc::getegid() }
}

/// Runs `look` with the file permissions of another user, and none of root's.
pub fn as_file_user<T>(uid: u32, gid: u32, look: impl FnOnce() -> T) -> T {
    // SAFETY: both calls take plain numbers and concern this thread alone. Leaving uid 0 drops the capabilities that override
    // file permissions, coming back restores them.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
        let result = look();
        libc::setfsuid(geteuid());
        libc::setfsgid(getegid());
        result
    }
}

/// No groups, all three uids and gids: not for a process with threads.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: an empty list is given by length 0; the raw calls concern this thread, and there is no other.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// Takes every capability out of the bounding set: nothing that is exec'd later can gain one.
pub fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..64 {
        match prctl(libc::PR_CAPBSET_DROP, capability) {
            Ok(()) => {}
            // EINVAL: past the kernel's last capability.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives up the permitted, effective, inheritable and ambient sets.
pub fn drop_capabilities() -> io::Result<()> {
    // SAFETY: the option takes numbers only.
    let cleared = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    check_int(cleared)?;
    // Version 3 of the interface: header {version, pid}, then two times {effective, permitted, inheritable}.
    let header: [u32; 2] = [0x2008_0522, 0];
    let data = [0u32; 6];
    // SAFETY: both arrays have the layout of version 3 and live over the call.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}

pub fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: the kernel reads `name.len()` bytes.
    check_int(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

// ---- signals and polling

pub fn signal_set(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: sigemptyset initialises the set before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        set
    }
}

pub fn set_signal_mask(signals: &[i32]) -> io::Result<()> {
    let set = signal_set(signals);
    // SAFETY: `set` lives over the call; the old mask is not asked for.
    check_int(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut()) }).map(drop)
}

/// Blocks `signals` and returns a descriptor that reads them.
pub fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    set_signal_mask(signals)?;
    let set = signal_set(signals);
    // SAFETY: `set` lives over the call.
    own(libc::c_long::from(unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) }))
}

/// Next pending signal of a signal descriptor.
pub fn next_signal(fd: RawFd) -> Option<libc::signalfd_siginfo> {
    // SAFETY: all zeroes is a valid `signalfd_siginfo`.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let size = std::mem::size_of::<libc::signalfd_siginfo>();
    // SAFETY: the kernel writes at most `size` bytes into `info`.
    let got = unsafe { libc::read(fd, (&mut info as *mut libc::signalfd_siginfo).cast(), size) };
    (got == size as isize).then_some(info)
}

/// Default action for every signal: Rust ignores SIGPIPE, and ignoring outlives exec.
pub fn reset_signals() {
    for signal in 1..32 {
        // SAFETY: SIG_DFL is always a valid handler; signals that cannot be changed fail without harm.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: takes a plain number.
        own(libc::c_long::from(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })).map(Epoll)
    }

    pub fn add(&self, fd: RawFd, token: u64, events: i32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, events)
    }

    pub fn modify(&self, fd: RawFd, token: u64, events: i32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, events)
    }

    pub fn remove(&self, fd: RawFd) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    fn control(&self, operation: i32, fd: RawFd, token: u64, events: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: token };
        // SAFETY: `event` lives over the call.
        check_int(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd, &mut event) }).map(drop)
    }

    /// Waits for events and returns (token, events) of at most 64; empty after `timeout_ms` (-1: never).
    pub fn wait(&self, timeout_ms: i32) -> io::Result<Vec<(u64, u32)>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        // SAFETY: the kernel writes at most 64 events.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 64, timeout_ms) };
        match check_int(count) {
            Ok(count) => Ok(events[..count as usize].iter().map(|event| (event.u64, event.events)).collect()),
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// Name of a signal as Node spells it, e.g. `SIGKILL`.
pub fn signal_name(signal: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    match usize::try_from(signal - 1).ok().and_then(|index| NAMES.get(index)) {
        Some(name) => format!("SIG{name}"),
        None => format!("SIG{signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_name_spells_like_node() {
        assert_eq!(signal_name(libc::SIGKILL), "SIGKILL");
        assert_eq!(signal_name(libc::SIGTERM), "SIGTERM");
        assert_eq!(signal_name(libc::SIGSYS), "SIGSYS");
        assert_eq!(signal_name(34), "SIG34");
    }
}
