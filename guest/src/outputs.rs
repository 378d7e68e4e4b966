//! The runtime's two output pipes, sent as LOG; and PINGs, each answered when what was in the pipes at its arrival has been read.
//! Whoever reads stops when too much waits for the host: then a flood stops in the pipe, and its writer with it.

use crate::sys;
use crate::wire;
use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;

const READ_BYTES_MAX: usize = 16_384;

struct Pipe {
    fd: RawFd,
    /// LOG flag: 1 stdout, 2 stderr.
    flag: u8,
    is_open: bool,
}

struct Ping {
    payload: Vec<u8>,
    /// Bytes of each pipe that its answer waits for.
    unread: [usize; 2],
}

pub struct Outputs {
    pipes: [Pipe; 2],
    pings: VecDeque<Ping>,
}

impl Outputs {
    /// Takes the reading ends, which do not block.
    pub fn new(out: RawFd, err: RawFd) -> Outputs {
        let pipe = |fd, flag| Pipe { fd, flag, is_open: true };
        Outputs { pipes: [pipe(out, 1), pipe(err, 2)], pings: VecDeque::new() }
    }

    pub fn interests(&self, may_read: bool) -> [libc::pollfd; 2] {
        [0, 1].map(|index| {
            let Pipe { fd, is_open, .. } = self.pipes[index];
            libc::pollfd { fd: if is_open && may_read { fd } else { -1 }, events: libc::POLLIN, revents: 0 }
        })
    }

    /// Bytes that wait in a pipe.
    pub fn waiting(&self, index: usize) -> usize {
        let pipe = &self.pipes[index];
        if pipe.is_open {
            sys::readable_bytes(pipe.fd).unwrap_or(0)
        } else {
            0
        }
    }

    /// Reads at most `bytes_max` from a pipe and passes them on; returns how many. On its own, so that the buffer is no part of the stack of
    /// who waits: each idle supervisor would hold it.
    #[inline(never)]
    pub fn read(&mut self, index: usize, bytes_max: usize, out: &mut Vec<u8>) -> usize {
        let mut buffer = [0u8; READ_BYTES_MAX];
        let (fd, flag) = (self.pipes[index].fd, self.pipes[index].flag);
        let bytes_max = bytes_max.min(buffer.len());
        match sys::read(fd, &mut buffer[..bytes_max]) {
            Ok(0) => self.pipes[index].is_open = false,
            Ok(count) => {
                wire::encode(out, wire::LOG, flag, 0, &buffer[..count]);
                for ping in &mut self.pings {
                    ping.unread[index] = ping.unread[index].saturating_sub(count);
                }
                return count;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.pipes[index].is_open = false,
        }
        // Empty or at its end: nothing is left that an older PING could wait for.
        for ping in &mut self.pings {
            ping.unread[index] = 0;
        }
        0
    }

    /// A PING came in.
    pub fn ping(&mut self, payload: Vec<u8>) {
        let unread = [self.waiting(0), self.waiting(1)];
        self.pings.push_back(Ping { payload, unread });
    }

    pub fn answer_pings(&mut self, out: &mut Vec<u8>) {
        while self.pings.front().is_some_and(|ping| ping.unread == [0, 0]) {
            if let Some(ping) = self.pings.pop_front() {
                wire::encode(out, wire::PING, wire::ANSWER, 0, &ping.payload);
            }
        }
    }

    /// Nobody waits for the answers any more.
    pub fn forget_pings(&mut self) {
        self.pings.clear();
    }
}
