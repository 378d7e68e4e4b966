//! Reading, writing, copying and closing of descriptors of any kind.

use super::{check, check_int};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

pub fn read(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes into `buffer`.
    check(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) } as libc::c_long).map(|n| n as usize)
}

pub fn write(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel reads at most `bytes.len()` bytes of `bytes`.
    check(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } as libc::c_long).map(|n| n as usize)
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

/// Keeps `fd` from programs that are exec'd.
pub fn close_on_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}

/// A duplicate with a number of at least `min`, closed on exec.
pub fn dup_above(fd: RawFd, min: RawFd) -> io::Result<RawFd> {
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, min) })
}

/// Moves a descriptor to a number of at least `min`, closed on exec.
pub fn own_above(fd: OwnedFd, min: RawFd) -> io::Result<OwnedFd> {
    let moved = dup_above(fd.as_raw_fd(), min)?;
    // SAFETY: the kernel has just returned it to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
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

/// Bytes waiting in a pipe or socket.
pub fn readable_bytes(fd: RawFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    check_int(unsafe { libc::ioctl(fd, libc::FIONREAD, &mut bytes) })?;
    Ok(bytes as usize)
}
