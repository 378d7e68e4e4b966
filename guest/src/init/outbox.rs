//! Bytes on their way out of the VM or to the runtime, in whole frames: what a connection that breaks has half sent is sent
//! whole to the next one, or not at all.

use crate::sys;
use crate::wire::{self, WireError};
use std::io;
use std::os::fd::RawFd;

/// From this on nothing more is read that would go in here.
pub const BYTES_MAX: usize = 131_072;

#[derive(Default)]
pub struct Outbox {
    /// Whole frames, the first of them perhaps sent in part.
    pub bytes: Vec<u8>,
    /// Where the frame begins that is being sent.
    start: usize,
    sent: usize,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    pub fn is_full(&self) -> bool {
        self.bytes.len() - self.sent >= BYTES_MAX
    }

    pub fn frame(&mut self, kind: u8, flags: u8, payload: &[u8]) {
        wire::encode(&mut self.bytes, kind, flags, 0, payload);
    }

    /// Writes until the other side takes no more. An error means that it is gone.
    pub fn write_to(&mut self, fd: RawFd) -> io::Result<()> {
        while !self.is_empty() {
            match sys::write(fd, &self.bytes[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.is_empty() {
            self.clear();
            return Ok(());
        }
        // Past the frames that have left whole.
        loop {
            match wire::frame_bytes(&self.bytes[self.start..]) {
                Ok(Some(bytes)) if self.start + bytes <= self.sent => self.start += bytes,
                Ok(_) => break,
                // Bytes of a runtime that broke the protocol: there is no frame to send whole.
                Err(_) => {
                    self.start = self.sent;
                    break;
                }
            }
        }
        if self.start >= BYTES_MAX {
            self.bytes.drain(..self.start);
            self.sent -= self.start;
            self.start = 0;
        }
        Ok(())
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.sent = 0;
    }

    /// For a new connection: `greeting` first, then the frames that waited and are `kept`.
    pub fn begin_anew(&mut self, greeting: &[u8], kept: impl Fn(u8) -> bool) {
        let old = std::mem::take(&mut self.bytes);
        let mut rest = &old[self.start..];
        self.clear();
        self.bytes.extend_from_slice(greeting);
        while let Ok(Some(bytes)) = wire::frame_bytes(rest) {
            if bytes > rest.len() {
                break;
            }
            if kept(rest[0]) {
                self.bytes.extend_from_slice(&rest[..bytes]);
            }
            rest = &rest[bytes..];
        }
    }
}

/// Finds the whole frames in a byte stream. Holds less than one frame.
#[derive(Default)]
pub struct Cutter {
    partial: Vec<u8>,
}

impl Cutter {
    /// Calls `take` with each frame that `chunk` completes. An error at the first header that breaks the rules; `rest` has it then.
    pub fn push(&mut self, mut chunk: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), WireError> {
        let cut = self.cut(&mut chunk, &mut take);
        self.partial.extend_from_slice(chunk);
        cut
    }

    fn cut(&mut self, chunk: &mut &[u8], take: &mut impl FnMut(&[u8])) -> Result<(), WireError> {
        while !self.partial.is_empty() && !chunk.is_empty() {
            let wanted = wire::frame_bytes(&self.partial)?.unwrap_or(wire::HEADER_BYTES);
            let count = (wanted - self.partial.len()).min(chunk.len());
            self.partial.extend_from_slice(&chunk[..count]);
            *chunk = &chunk[count..];
            if wire::frame_bytes(&self.partial)? == Some(self.partial.len()) {
                take(&self.partial);
                self.partial.clear();
            }
        }
        while let Some(bytes) = wire::frame_bytes(chunk)? {
            if bytes > chunk.len() {
                break;
            }
            take(&chunk[..bytes]);
            *chunk = &chunk[bytes..];
        }
        Ok(())
    }

    /// What was pushed and is no whole frame.
    pub fn rest(&self) -> &[u8] {
        &self.partial
    }

    /// Forgets the half frame of a connection that is gone.
    pub fn reset(&mut self) {
        self.partial.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let stream = u32::from(kind == wire::DATA);
        let flags = u8::from(kind == wire::LOG);
        wire::encode(&mut bytes, kind, flags, stream, payload);
        bytes
    }

    #[test]
    fn cutter_gives_whole_frames_in_every_split() {
        let frames =
            [frame(wire::PING, b"a"), frame(wire::DATA, &[7; 3000]), frame(wire::END, b""), frame(wire::LOG, b"x")];
        let frames: Vec<Vec<u8>> = frames
            .into_iter()
            .map(|bytes| if bytes[0] == wire::END { frame(wire::SHUTDOWN, b"{}") } else { bytes })
            .collect();
        let stream = frames.concat();
        for size in [1, 2, 11, 12, 13, 14, 100, 3012, 100_000] {
            let mut cutter = Cutter::default();
            let mut seen: Vec<Vec<u8>> = Vec::new();
            for chunk in stream.chunks(size) {
                cutter.push(chunk, |frame| seen.push(frame.to_vec())).unwrap();
            }
            assert_eq!(seen, frames, "in pieces of {size}");
        }
    }

    #[test]
    fn cutter_refuses_a_bad_header_and_forgets_a_half_frame() {
        let mut cutter = Cutter::default();
        let good = frame(wire::DATA, &[1; 100]);
        cutter.push(&good[..50], |_| panic!("half a frame")).unwrap();
        cutter.reset();
        let mut count = 0;
        cutter.push(&good, |_| count += 1).unwrap();
        assert_eq!(count, 1);
        assert_eq!(cutter.push(&[0; 12], |_| panic!("no frame")), Err(WireError::Type));
    }

    #[test]
    fn outbox_sends_whole_what_a_broken_connection_took_in_part() {
        let (ours, theirs) = sys::socketpair(libc::SOCK_STREAM).unwrap();
        sys::set_nonblocking(ours.as_raw_fd()).unwrap();
        let mut outbox = Outbox::default();
        let log = frame(wire::LOG, &[b'x'; 65_536]);
        let answer = frame(wire::PING, b"late");
        for _ in 0..20 {
            outbox.bytes.extend_from_slice(&log);
        }
        outbox.bytes.extend_from_slice(&answer);
        let before = outbox.bytes.len();
        outbox.write_to(ours.as_raw_fd()).unwrap();
        assert!(!outbox.is_empty() && outbox.bytes.len() < before, "some frames left whole");
        let greeting = frame(wire::HELLO, b"{}");
        outbox.begin_anew(&greeting, |kind| kind == wire::LOG);
        assert!(outbox.bytes.starts_with(&greeting));
        assert_eq!((outbox.bytes.len() - greeting.len()) % log.len(), 0, "the answer is dropped, no frame is cut");
        drop(theirs);
        assert!(outbox.write_to(ours.as_raw_fd()).is_err());
    }
}
