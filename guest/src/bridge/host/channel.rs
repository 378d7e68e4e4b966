//! The bytes of the channel to the host: frames that go out wait here, frames that come in are taken apart.

use crate::sys;
use crate::wire::{self, Decoder, Frame};
use std::io;
use std::os::fd::RawFd;

pub struct Channel {
    fd: RawFd,
    decoder: Decoder,
    unsent: Vec<u8>,
}

impl Channel {
    pub fn new(fd: RawFd) -> Channel {
        Channel { fd, decoder: Decoder::default(), unsent: Vec::new() }
    }

    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        wire::encode(&mut self.unsent, kind, flags, stream, payload);
    }

    pub fn unsent_bytes(&self) -> usize {
        self.unsent.len()
    }

    pub fn go_nonblocking(&mut self) {
        self.flush_whole();
        let _ = sys::set_nonblocking(self.fd);
    }

    pub fn interest(&self) -> libc::pollfd {
        let write = if self.unsent.is_empty() { 0 } else { libc::POLLOUT };
        libc::pollfd { fd: self.fd, events: libc::POLLIN | write, revents: 0 }
    }

    /// Sends what the host takes now.
    pub fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match sys::send(self.fd, &self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A broken channel shows when it is read.
                Err(_) => return,
            }
        }
    }

    /// Sends all of it, waiting where it must: before an exec or an end.
    pub fn flush_whole(&mut self) {
        let _ = sys::set_blocking(self.fd);
        self.flush();
    }

    /// One frame, and not a byte more, in blocking reads. None at the channel's end.
    pub fn next_exactly(&mut self) -> Option<Frame> {
        let mut header = [0u8; wire::HEADER_BYTES];
        read_exactly(self.fd, &mut header)?;
        let length = wire::frame_bytes(&header).ok()?? - wire::HEADER_BYTES;
        let mut bytes = header.to_vec();
        bytes.resize(wire::HEADER_BYTES + length, 0);
        read_exactly(self.fd, &mut bytes[wire::HEADER_BYTES..])?;
        self.decoder.push(&bytes);
        self.decoder.next_frame().ok()?
    }

    /// What has come; None when the host is gone or breaks the protocol. On its own for the sake of its buffer, which no idle bridge should hold.
    #[inline(never)]
    pub fn receive(&mut self) -> Option<Vec<Frame>> {
        let mut buffer = [0u8; 65_536];
        let mut frames = Vec::new();
        match sys::read(self.fd, &mut buffer) {
            Ok(0) => return None,
            Ok(count) => self.decoder.push(&buffer[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => return None,
        }
        while let Some(frame) = self.decoder.next_frame().ok()? {
            frames.push(frame);
        }
        Some(frames)
    }
}

fn read_exactly(fd: RawFd, mut buffer: &mut [u8]) -> Option<()> {
    while !buffer.is_empty() {
        match sys::read(fd, buffer) {
            Ok(0) => return None,
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    Some(())
}
