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

#[cfg(test)]
mod tests {
    use super::super::line::Line;
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixListener;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let flags = u8::from(kind == wire::LOG);
        wire::encode(&mut bytes, kind, flags, u32::from(kind == wire::DATA), payload);
        bytes
    }

    /// A channel without a host: what waits in its outbox can be looked at.
    fn channel(name: &str) -> Channel {
        let path = std::env::temp_dir().join(format!("hearth-relay-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        Channel::new(Line::listener(listener.into()))
    }

    #[test]
    fn a_half_frame_of_a_host_that_went_never_reaches_the_runtime() {
        let (ours, theirs) = sys::socketpair(libc::SOCK_STREAM).unwrap();
        let mut relay = Relay::default();
        let first = frame(wire::BIND, &[b' '; 100]);
        relay.push_host(&first[..60]).unwrap();
        assert!(!relay.has_input());
        relay.reset_host();
        let second = frame(wire::BIND, b"{}");
        relay.push_host(&second).unwrap();
        assert!(relay.feed(ours.as_raw_fd()));
        let mut buffer = [0u8; 256];
        let count = sys::read(theirs.as_raw_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..count], &second);
        assert_eq!(relay.push_host(&[0xff; 12]), Err(wire::WireError::Type));
    }

    #[test]
    fn between_resume_and_resumed_nothing_of_the_runtime_counts() {
        let (ours, theirs) = sys::socketpair(libc::SOCK_STREAM).unwrap();
        let mut channel = channel("resume");
        let mut relay = Relay::default();
        let mut buffer = [0u8; 4096];
        relay.resume("{\"epoch\":\"e2\"}");
        assert!(relay.feed(ours.as_raw_fd()));
        let count = sys::read(theirs.as_raw_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..count], &frame(wire::RESUME, b"{\"epoch\":\"e2\"}"));

        let old = frame(wire::LOG, b"of the old life");
        sys::write(theirs.as_raw_fd(), &old).unwrap();
        assert_eq!(relay.read_runtime(ours.as_raw_fd(), &mut buffer, &mut channel), News::Nothing);
        let new = frame(wire::LOG, b"of the new one");
        sys::write(theirs.as_raw_fd(), &[frame(wire::RESUMED, b"{}"), new.clone()].concat()).unwrap();
        assert_eq!(relay.read_runtime(ours.as_raw_fd(), &mut buffer, &mut channel), News::Resumed);
        assert_eq!(channel.outbox.bytes, new);
        // Unasked, it is for the host to refuse.
        sys::write(theirs.as_raw_fd(), &frame(wire::RESUMED, b"{}")).unwrap();
        assert_eq!(relay.read_runtime(ours.as_raw_fd(), &mut buffer, &mut channel), News::Nothing);
        assert!(channel.outbox.bytes.ends_with(&frame(wire::RESUMED, b"{}")));
        drop(theirs);
        assert_eq!(relay.read_runtime(ours.as_raw_fd(), &mut buffer, &mut channel), News::Closed);
    }

    #[test]
    fn bytes_of_a_runtime_that_breaks_the_protocol_go_to_the_host_as_they_are() {
        let (ours, theirs) = sys::socketpair(libc::SOCK_STREAM).unwrap();
        let mut channel = channel("broken");
        let mut relay = Relay::default();
        let mut buffer = [0u8; 4096];
        let bytes = [frame(wire::LOG, b"fine"), vec![0xee; 30]].concat();
        let mut sent = 0;
        for piece in bytes.chunks(9) {
            sys::write(theirs.as_raw_fd(), piece).unwrap();
            sent += piece.len();
            assert_eq!(relay.read_runtime(ours.as_raw_fd(), &mut buffer, &mut channel), News::Nothing);
        }
        assert_eq!(sent, bytes.len());
        assert_eq!(channel.outbox.bytes, bytes);
    }
}
