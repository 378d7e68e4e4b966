//! Files and folders by descriptor.

use super::{c, check_int, empty, own};
use std::io;
use std::os::fd::{OwnedFd, RawFd};

pub const RESOLVE_NO_SYMLINKS: u64 = 0x04;
pub const RESOLVE_BENEATH: u64 = 0x08;

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

/// A named pipe that only its maker may use.
pub fn mkfifoat(dir: RawFd, path: &str) -> io::Result<()> {
    let path = c(path)?;
    // SAFETY: `path` is NUL-terminated and lives over the call.
    check_int(unsafe { libc::mkfifoat(dir, path.as_ptr(), 0o600) }).map(drop)
}

pub fn fchown(fd: RawFd, uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::fchown(fd, uid, gid) }).map(drop)
}

pub fn fchmod(fd: RawFd, mode: u32) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::fchmod(fd, mode) }).map(drop)
}

pub fn chmod(path: &str, mode: u32) -> io::Result<()> {
    let path = c(path)?;
    // SAFETY: `path` is NUL-terminated and lives over the call.
    check_int(unsafe { libc::chmod(path.as_ptr(), mode) }).map(drop)
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

/// Takes a lock that the kernel lets go when every copy of the descriptor is closed. EAGAIN: somebody else has it.
pub fn try_lock(fd: RawFd) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::flock(fd, libc::LOCK_EX | libc::LOCK_NB) }).map(drop)
}
