//! A TCP connection inside the sandbox, with what was read of it and not yet understood, and what it did not yet take.

use crate::sys;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

/// What is read and not understood may be one head, or what a reader did not want yet.
const READ_BYTES_MAX: usize = 131_072;

pub struct Connection {
    socket: OwnedFd,
    pub input: Vec<u8>,
    output: Vec<u8>,
    /// The other side has ended its half.
    pub is_ended: bool,
    /// It cannot be used any more.
    pub is_broken: bool,
    /// When bytes last came or went.
    pub used_at: Instant,
    /// A request was answered over it: the next would be its second.
    pub has_answered: bool,
}

impl Connection {
    pub fn new(socket: OwnedFd) -> Connection {
        let _ = sys::set_nodelay(socket.as_raw_fd());
        Connection {
            socket,
            input: Vec::new(),
            output: Vec::new(),
            is_ended: false,
            is_broken: false,
            used_at: Instant::now(),
            has_answered: false,
        }
    }

    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// `wants_more`: bytes that come would be understood or passed on now.
    pub fn interest(&self, wants_more: bool) -> libc::pollfd {
        let may_read = wants_more && !self.is_ended && self.input.len() < READ_BYTES_MAX;
        let read = if may_read { libc::POLLIN } else { 0 };
        let write = if self.output.is_empty() { 0 } else { libc::POLLOUT };
        super::entry(&self.socket, read | write)
    }

    pub fn is_unsent(&self) -> bool {
        !self.output.is_empty()
    }

    /// Queues `bytes` and sends what the other side takes now; returns how many bytes of all that was queued left.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        self.output.extend_from_slice(bytes);
        self.flush()
    }

    pub fn flush(&mut self) -> usize {
        let before = self.output.len();
        while !self.output.is_empty() {
            match sys::send(self.fd(), &self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.is_broken = true;
                    self.output.clear();
                    break;
                }
            }
        }
        before - self.output.len()
    }

    /// Does what poll said of this descriptor.
    pub fn turn(&mut self, events: i16) {
        if events & libc::POLLOUT != 0 {
            self.flush();
        }
        if events & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0 {
            self.read();
        }
    }

    /// What has come. On its own for the sake of its buffer.
    #[inline(never)]
    pub fn read(&mut self) {
        let mut buffer = [0u8; 65_536];
        match sys::read(self.fd(), &mut buffer) {
            Ok(0) => self.is_ended = true,
            Ok(count) => {
                self.used_at = Instant::now();
                self.input.extend_from_slice(&buffer[..count]);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.is_broken = true,
        }
    }

    /// No more will be sent.
    pub fn end(&self) {
        // SAFETY: takes plain numbers; a socket that is closed already makes it fail, which is no matter.
        unsafe { libc::shutdown(self.fd(), libc::SHUT_WR) };
    }
}
