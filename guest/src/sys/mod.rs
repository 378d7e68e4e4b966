//! Thin wrappers of the system calls that std lacks. Each checks the result and returns `io::Result`; nothing here decides.

mod descriptors;
mod epoll;
mod files;
mod listening;
mod memfd;
mod mounts;
mod processes;
mod signals;
mod sockets;
mod users;

pub use descriptors::*;
pub use epoll::*;
pub use files::*;
pub use listening::*;
pub use memfd::*;
pub use mounts::*;
pub use processes::*;
pub use signals::*;
pub use sockets::*;
pub use users::*;

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

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
