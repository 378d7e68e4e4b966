//! Sockets: connecting, sending, and passing descriptors over them.

use super::{check, check_int, own};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Sends without SIGPIPE.
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel reads at most `bytes.len()` bytes of `bytes`.
    let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    check(sent as libc::c_long).map(|n| n as usize)
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

/// A listener on 127.0.0.1, in the network that the caller is in. Does not block.
pub fn listen_loopback(port: u16) -> io::Result<OwnedFd> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    let (fd, one, address) = (socket.as_raw_fd(), 1 as libc::c_int, loopback(port));
    // SAFETY: option and address live over their calls, and the lengths are theirs.
    unsafe {
        check_int(libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, (&one as *const libc::c_int).cast(), 4))?;
        let length = std::mem::size_of::<libc::sockaddr_in>() as u32;
        check_int(libc::bind(fd, (&address as *const libc::sockaddr_in).cast(), length))?;
        check_int(libc::listen(fd, 64))?;
    }
    Ok(socket)
}

/// A connection to 127.0.0.1 or ::1, which may still be in the making: then it becomes writable, or fails, later.
pub fn connect_loopback(port: u16, is_v6: bool) -> io::Result<OwnedFd> {
    let family = if is_v6 { libc::AF_INET6 } else { libc::AF_INET };
    let socket = socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    let connected = if is_v6 { connect(&socket, &loopback_v6(port)) } else { connect(&socket, &loopback(port)) };
    match connected {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// `address` is a `sockaddr_in` or `sockaddr_in6`.
fn connect<T>(socket: &OwnedFd, address: &T) -> io::Result<i32> {
    let length = std::mem::size_of::<T>() as u32;
    // SAFETY: `address` lives over the call and `length` is its size.
    check_int(unsafe { libc::connect(socket.as_raw_fd(), (address as *const T).cast(), length) })
}

fn loopback_v6(port: u16) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as u16,
        sin6_port: port.to_be(),
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: std::net::Ipv6Addr::LOCALHOST.octets() },
        sin6_scope_id: 0,
    }
}

fn loopback(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(std::net::Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    }
}

/// The next connection that waits at a listener; it does not block.
pub fn accept(listener: RawFd) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null asks for no address.
    own(libc::c_long::from(unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) }))
}

/// Short answers leave at once.
pub fn set_nodelay(socket: RawFd) -> io::Result<()> {
    let one: libc::c_int = 1;
    // SAFETY: the option lives over the call, and the length is its own.
    check_int(unsafe {
        libc::setsockopt(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, (&one as *const libc::c_int).cast(), 4)
    })
    .map(drop)
}

/// Whether the other end has closed, or said something: one look, without taking anything.
pub fn has_ended_or_data(socket: RawFd) -> bool {
    let mut byte = 0u8;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: the kernel writes at most one byte.
    let count = unsafe { libc::recv(socket, (&mut byte as *mut u8).cast(), 1, flags) };
    count >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock
}
