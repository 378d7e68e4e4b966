//! Carries frames between the `runtime` channel and the runtime's socket, whole frames only, and takes out what is for init: HELLO, which
//! also greets later connections, and RESUMED.

use super::channel::Channel;
use super::outbox::{Cutter, Outbox};
use crate::sys;
use crate::wire;
use std::io;
use std::os::fd::RawFd;

#[derive(Default)]
pub struct Relay {
    /// For the runtime.
    inbox: Outbox,
    from_host: Cutter,
    from_runtime: Cutter,
    /// The runtime broke the protocol: its bytes go to the host as they are, which ends it.
    is_broken: bool,
    /// Between RESUME and RESUMED: what the runtime says belongs to a life that is over.
    is_awaiting_resumed: bool,
}

/// What came from the runtime.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    Nothing,
    Resumed,
    /// It has closed its end.
    Closed,
}

impl Relay {
    pub fn may_read_host(&self) -> bool {
        !self.inbox.is_full()
    }

    pub fn has_input(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// The host has gone, or another has come.
    pub fn reset_host(&mut self) {
        self.from_host.reset();
    }

    /// Bytes of the host. An error names the rule that they broke.
    pub fn push_host(&mut self, bytes: &[u8]) -> Result<(), wire::WireError> {
        let inbox = &mut self.inbox;
        self.from_host.push(bytes, |frame| inbox.bytes.extend_from_slice(frame))
    }

    /// Hands the runtime what it takes; false when it is gone.
    pub fn feed(&mut self, socket: RawFd) -> bool {
        self.inbox.write_to(socket).is_ok()
    }

    /// Tells the runtime that it woke in another VM.
    pub fn resume(&mut self, payload: &str) {
        self.from_host.reset();
        self.inbox.frame(wire::RESUME, 0, payload.as_bytes());
        self.is_awaiting_resumed = true;
    }

    /// The runtime did not answer in time; what it says counts again.
    pub fn stop_waiting(&mut self) {
        self.is_awaiting_resumed = false;
    }

    /// Reads once from the runtime and passes on what is for the host.
    pub fn read_runtime(&mut self, socket: RawFd, buffer: &mut [u8], channel: &mut Channel) -> News {
        let count = match sys::read(socket, buffer) {
            Ok(0) => return News::Closed,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return News::Nothing;
            }
            Err(_) => return News::Closed,
        };
        if self.is_broken {
            channel.outbox.bytes.extend_from_slice(&buffer[..count]);
            return News::Nothing;
        }
        let mut news = News::Nothing;
        let is_awaiting = &mut self.is_awaiting_resumed;
        let pushed = self.from_runtime.push(&buffer[..count], |frame| match frame[0] {
            wire::RESUMED if *is_awaiting => {
                *is_awaiting = false;
                news = News::Resumed;
            }
            _ if *is_awaiting => {}
            wire::HELLO => channel.greet(frame),
            _ => channel.outbox.bytes.extend_from_slice(frame),
        });
        if pushed.is_err() {
            self.is_broken = true;
            channel.outbox.bytes.extend_from_slice(self.from_runtime.rest());
        }
        news
    }
}
