//! Finds the three ways to the host: virtio ports by name, else listening vsock sockets.

use super::line::Line;
use crate::error::{Context, Error};
use crate::sys;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

const STEP: &str = "init.channels";
/// In the order in which a host connects.
pub const NAMES: [&str; 3] = ["init", "supervisor", "runtime"];
const FIRST_VSOCK_PORT: u32 = 1024;
/// A driver loaded a moment ago names its ports within a few ms.
const NAMED_MS_MAX: u64 = 10_000;
const VIRTIO_ID_CONSOLE: &str = "0x0003";

pub fn open() -> Result<[Line; 3], Error> {
    if !has_console_device() {
        return vsock_lines();
    }
    // Before the first look, so that nothing that comes after it is missed.
    let news = device_news()?;
    let deadline = Instant::now() + Duration::from_millis(NAMED_MS_MAX);
    loop {
        if let Some(ports) = named_ports() {
            return port_lines(ports);
        }
        if !wait_for_news(&news, deadline) {
            let action = format!("find the virtio ports hearth.{}", NAMES.join(", hearth."));
            return Err(Error::Timeout { step: STEP, action, ms: NAMED_MS_MAX });
        }
    }
}

/// False when nothing has come until `deadline`.
pub fn wait_for_news(news: &OwnedFd, deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis() as i32;
    let mut poll = libc::pollfd { fd: news.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which lives over the call.
    if left == 0 || unsafe { libc::poll(&mut poll, 1, left) } == 0 {
        return false;
    }
    let mut buffer = [0u8; 4096];
    while sys::read(news.as_raw_fd(), &mut buffer).is_ok() {}
    true
}

fn has_console_device() -> bool {
    entries("/sys/bus/virtio/devices").iter().any(|name| {
        let path = format!("/sys/bus/virtio/devices/{name}/device");
        fs::read_to_string(path).is_ok_and(|id| id.trim() == VIRTIO_ID_CONSOLE)
    })
}

/// Device names of the three ports, once all have their names.
fn named_ports() -> Option<[String; 3]> {
    let ports: Vec<(String, String)> = entries("/sys/class/virtio-ports")
        .into_iter()
        .filter_map(|device| {
            let name = fs::read_to_string(format!("/sys/class/virtio-ports/{device}/name")).ok()?;
            Some((name.trim().to_string(), device))
        })
        .collect();
    let find = |name: &str| {
        let wanted = format!("hearth.{name}");
        ports.iter().find(|(found, _)| *found == wanted).map(|(_, device)| device.clone())
    };
    Some([find(NAMES[0])?, find(NAMES[1])?, find(NAMES[2])?])
}

fn entries(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn port_lines(ports: [String; 3]) -> Result<[Line; 3], Error> {
    let open = |device: &str| {
        let path = format!("/dev/{device}");
        sys::openat(libc::AT_FDCWD, &path, libc::O_RDWR | libc::O_NONBLOCK, 0)
            .and_then(Line::port)
            .at(STEP, || format!("open \"{path}\""))
    };
    let [init, supervisor, runtime] = &ports;
    Ok([open(init)?, open(supervisor)?, open(runtime)?])
}

/// The kernel's messages about devices.
pub fn device_news() -> Result<OwnedFd, Error> {
    let listen = || {
        let socket =
            sys::socket(libc::AF_NETLINK, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, libc::NETLINK_KOBJECT_UEVENT)?;
        // SAFETY: all zeroes is a valid `sockaddr_nl`.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = 1;
        let length = std::mem::size_of::<libc::sockaddr_nl>() as u32;
        // SAFETY: `address` lives over the call and `length` is its size.
        sys::check_int(unsafe {
            libc::bind(socket.as_raw_fd(), (&address as *const libc::sockaddr_nl).cast(), length)
        })?;
        Ok(socket)
    };
    listen().at(STEP, || "listen for devices".to_string())
}

fn vsock_lines() -> Result<[Line; 3], Error> {
    Ok([vsock_line(0)?, vsock_line(1)?, vsock_line(2)?])
}

fn vsock_line(index: u32) -> Result<Line, Error> {
    let port = FIRST_VSOCK_PORT + index;
    let listen = || {
        let socket = sys::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
        // SAFETY: all zeroes is a valid `sockaddr_vm`.
        let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
        address.svm_family = libc::AF_VSOCK as u16;
        address.svm_cid = libc::VMADDR_CID_ANY;
        address.svm_port = port;
        let length = std::mem::size_of::<libc::sockaddr_vm>() as u32;
        // SAFETY: `address` lives over the calls and `length` is its size.
        unsafe {
            let address = (&address as *const libc::sockaddr_vm).cast();
            sys::check_int(libc::bind(socket.as_raw_fd(), address, length))?;
            sys::check_int(libc::listen(socket.as_raw_fd(), 4))?;
        }
        Ok(Line::listener(socket))
    };
    listen().at(STEP, || format!("listen on vsock port {port}: the VM has neither virtio ports nor vsock"))
}
