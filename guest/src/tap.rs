//! The network interface of a VM on its host side: `tap0`, in a network namespace of its own.
//! Source: Linux Documentation/networking/tuntap.rst, linux/if_tun.h.

use crate::netlink::{interface_index, Netlink};
use crate::sys;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

pub const NAME: &str = "tap0";

/// Opened where /dev is in sight; the interfaces are made where it is not.
pub fn open_folder() -> io::Result<OwnedFd> {
    sys::openat(libc::AT_FDCWD, "/dev/net", libc::O_PATH | libc::O_DIRECTORY, 0)
}

/// Makes `tap0` in the network namespace this process is in, and returns its queue for a VMM. It lives as long as the namespace:
/// a VMM that opens interfaces by name attaches to it when the queue is closed. With the virtio header, as QEMU and Firecracker want.
pub fn make(folder: RawFd) -> io::Result<OwnedFd> {
    let queue = sys::openat(folder, "tun", libc::O_RDWR | libc::O_NONBLOCK, 0)?;
    // SAFETY: all zeroes is a valid `ifreq`; the name is shorter than its field.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(NAME.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: the kernel reads and writes `request`, which lives over the call.
    sys::check_int(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETIFF as _, &mut request) })?;
    // SAFETY: takes plain numbers.
    sys::check_int(unsafe { libc::ioctl(queue.as_raw_fd(), libc::TUNSETPERSIST as _, 1) })?;
    quiet(NAME);
    Netlink::open()?.set_up(interface_index(NAME)?)?;
    Ok(queue)
}

/// Only `uid` may attach to it.
pub fn set_owner(queue: RawFd, uid: u32) -> io::Result<()> {
    // SAFETY: takes plain numbers.
    sys::check_int(unsafe { libc::ioctl(queue, libc::TUNSETOWNER as _, libc::c_ulong::from(uid)) }).map(drop)
}

/// An interface that only carries frames needs no address of its own, and sends none by itself. A kernel without IPv6 has no such file.
pub fn quiet(interface: &str) {
    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1");
}
