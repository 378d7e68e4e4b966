//! The steps that enter a network and listen for the platform API in it.

use super::{Child, PLATFORM_API_PORT};
use crate::sys;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

/// Takes microseconds with a network of the pool, and a third of a millisecond without.
pub fn enter_network(child: &mut Child) -> io::Result<()> {
    let started = Instant::now();
    match child.plan.network {
        Some(network) => sys::setns(network.as_raw_fd(), libc::CLONE_NEWNET)?,
        None => {
            sys::unshare(libc::CLONE_NEWNET)?;
            crate::netns::bring_loopback_up()?;
        }
    }
    child.network_us = started.elapsed().as_micros() as i32;
    Ok(())
}

/// 127.0.0.1:9010 listens before the runtime runs.
pub fn listen(child: &mut Child) -> io::Result<()> {
    let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    let fd = socket.as_raw_fd();
    let one: libc::c_int = 1;
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: PLATFORM_API_PORT.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(std::net::Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: option and address live over their calls, and the lengths are theirs.
    unsafe {
        let one = (&one as *const libc::c_int).cast();
        sys::check_int(libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, one, 4))?;
        let length = std::mem::size_of::<libc::sockaddr_in>() as u32;
        sys::check_int(libc::bind(fd, (&address as *const libc::sockaddr_in).cast(), length))?;
        sys::check_int(libc::listen(fd, 64))?;
    }
    child.listener = Some(socket);
    Ok(())
}
