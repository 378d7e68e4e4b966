//! UNIX sockets that listen.

use super::{check_int, fchmod, socket};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// A socket that listens as `name` in the folder `dir` (O_PATH), for its owner alone. No length limit but that of `name`: about 80 bytes.
pub fn listen_unix(dir: RawFd, name: &str) -> io::Result<OwnedFd> {
    let socket = socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?;
    // The file takes its permissions from the socket.
    fchmod(socket.as_raw_fd(), 0o600)?;
    // SAFETY: all zeroes is a valid `sockaddr_un`.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    let path = format!("/proc/self/fd/{dir}/{name}");
    if path.len() >= address.sun_path.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in address.sun_path.iter_mut().zip(path.bytes()) {
        *to = from as libc::c_char;
    }
    let length = std::mem::size_of::<libc::sockaddr_un>() as u32;
    // SAFETY: `address` lives over the call and `length` is its size.
    check_int(unsafe { libc::bind(socket.as_raw_fd(), (&address as *const libc::sockaddr_un).cast(), length) })?;
    // SAFETY: takes plain numbers.
    check_int(unsafe { libc::listen(socket.as_raw_fd(), 16) })?;
    Ok(socket)
}
