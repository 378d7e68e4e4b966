//! Files that are memory, and the extents of sparse files.

use super::{c, check, check_int, own};
use std::io;
use std::os::fd::{OwnedFd, RawFd};

/// A file in memory that may be sealed. Anyone may open it anew by its descriptor, so it is sealed before it is given away.
pub fn memfd(name: &str) -> io::Result<OwnedFd> {
    let name = c(name)?;
    // SAFETY: `name` is NUL-terminated and lives over the call.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    own(libc::c_long::from(fd))
}

/// Nothing can write to it, nor change its size or its seals, whoever has it open. Private writable mappings still work.
pub fn seal(memfd: RawFd) -> io::Result<()> {
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::fcntl(memfd, libc::F_ADD_SEALS, seals) }).map(drop)
}

pub fn set_length(fd: RawFd, bytes: u64) -> io::Result<()> {
    let bytes = libc::off_t::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::ftruncate(fd, bytes) }).map(drop)
}

/// The next part of a sparse file that holds data, from `offset` on, as (start, end).
pub fn next_extent(fd: RawFd, offset: i64) -> io::Result<Option<(i64, i64)>> {
    // SAFETY: takes plain numbers.
    let start = match check(unsafe { libc::lseek(fd, offset, libc::SEEK_DATA) }) {
        Ok(start) => start,
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(None),
        Err(error) => return Err(error),
    };
    // SAFETY: takes plain numbers.
    let end = check(unsafe { libc::lseek(fd, start, libc::SEEK_HOLE) })?;
    Ok(Some((start, end)))
}

pub fn read_at(fd: RawFd, buffer: &mut [u8], offset: i64) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes into `buffer`.
    let count = unsafe { libc::pread(fd, buffer.as_mut_ptr().cast(), buffer.len(), offset) };
    check(count as libc::c_long).map(|count| count as usize)
}

pub fn write_at(fd: RawFd, bytes: &[u8], offset: i64) -> io::Result<usize> {
    // SAFETY: the kernel reads at most `bytes.len()` bytes of `bytes`.
    let count = unsafe { libc::pwrite(fd, bytes.as_ptr().cast(), bytes.len(), offset) };
    check(count as libc::c_long).map(|count| count as usize)
}
