//! Waiting for many descriptors at once.

use super::{check_int, own};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

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

    /// Readable while events wait.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
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
