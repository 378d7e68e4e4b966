//! 127.0.0.1:9010 in the sandbox: each TCP connection becomes an OPEN `platform-api` stream on the supervisor's channel, with
//! the protocol's flow control both ways. Holds at most one window of bytes a connection.

use crate::sys;
use crate::wire::{self, Frame};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Below the host's limit of 64 streams; more wait in the listener's queue.
pub const CONNECTIONS_MAX: usize = 48;

pub const PLATFORM_API_PORT: u16 = 9010;

/// The listening socket, in the network that the caller is in.
pub fn listen() -> io::Result<OwnedFd> {
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
    Ok(socket)
}

struct Connection {
    socket: OwnedFd,
    /// What the host takes until it gives more.
    credit: usize,
    /// The guest's half is ended.
    is_read: bool,
    /// From the host, not yet taken by the guest's socket.
    unwritten: Vec<u8>,
    /// Taken by the guest, not yet given back as credit.
    taken: usize,
    /// The host's half is ended.
    is_host_done: bool,
}

#[derive(Default)]
pub struct Proxy {
    connections: BTreeMap<u32, Connection>,
    last_stream: u32,
}

enum Fate {
    Lives,
    Done,
    /// The guest is gone: the host is told.
    Broken,
}

impl Proxy {
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    pub fn close_all(&mut self) {
        self.connections.clear();
    }

    /// One entry for each connection, in the order of stream ids.
    pub fn interests(&self, may_read: bool, polled: &mut Vec<libc::pollfd>) {
        for connection in self.connections.values() {
            let read = if may_read && !connection.is_read && connection.credit > 0 { libc::POLLIN } else { 0 };
            let write = if connection.unwritten.is_empty() { 0 } else { libc::POLLOUT };
            polled.push(libc::pollfd { fd: connection.socket.as_raw_fd(), events: read | write, revents: 0 });
        }
    }

    pub fn accept(&mut self, listener: RawFd, out: &mut Vec<u8>) {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: null asks for no address.
        let fd = unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
        // Ids are even and never reused; 2^31 connections are not reached in an Instance's life.
        let Some(stream) = self.last_stream.checked_add(2) else { return };
        if fd < 0 {
            return;
        }
        // SAFETY: accept4 has just returned this descriptor to us alone.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        self.last_stream = stream;
        let connection = Connection {
            socket,
            credit: wire::WINDOW_BYTES,
            is_read: false,
            unwritten: Vec::new(),
            taken: 0,
            is_host_done: false,
        };
        self.connections.insert(stream, connection);
        wire::encode(out, wire::OPEN, 0, stream, br#"{"service":"platform-api"}"#);
    }

    /// Does what poll said of the connections; `polled` has the entries of `interests`.
    pub fn turn(&mut self, polled: &[libc::pollfd], out: &mut Vec<u8>) {
        let ready: Vec<(RawFd, i16)> = polled.iter().map(|entry| (entry.fd, entry.revents)).collect();
        let streams: Vec<u32> = self.connections.keys().copied().collect();
        for stream in streams {
            let Some(connection) = self.connections.get_mut(&stream) else { continue };
            // A connection may have come or gone since poll; its descriptor tells which entry is its own.
            let fd = connection.socket.as_raw_fd();
            let Some((_, events)) = ready.iter().find(|(polled, events)| *polled == fd && *events != 0) else {
                continue;
            };
            let mut fate = Fate::Lives;
            if events & libc::POLLOUT != 0 {
                fate = connection.write(stream, out);
            }
            if events & libc::POLLIN != 0 && matches!(fate, Fate::Lives) {
                fate = connection.read(stream, out);
            }
            if events & libc::POLLERR != 0 && matches!(fate, Fate::Lives) {
                fate = Fate::Broken;
            }
            self.settle(stream, fate, out);
        }
    }

    /// A frame from the host on an even stream. Unknown streams have ended here and are dropped.
    pub fn handle(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        let Some(connection) = self.connections.get_mut(&frame.stream) else { return };
        let fate = match frame.kind {
            wire::DATA => {
                connection.unwritten.extend_from_slice(&frame.payload);
                connection.is_host_done |= frame.flags & wire::FIN != 0;
                if connection.unwritten.len() > wire::WINDOW_BYTES {
                    Fate::Broken
                } else {
                    connection.write(frame.stream, out)
                }
            }
            wire::END => {
                connection.is_host_done = true;
                connection.write(frame.stream, out)
            }
            wire::CREDIT => {
                let bytes = frame.payload.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
                connection.credit = connection.credit.saturating_add(bytes);
                Fate::Lives
            }
            wire::FAIL | wire::CANCEL => Fate::Done,
            _ => Fate::Lives,
        };
        self.settle(frame.stream, fate, out);
    }

    fn settle(&mut self, stream: u32, fate: Fate, out: &mut Vec<u8>) {
        match fate {
            Fate::Lives => {}
            Fate::Done => drop(self.connections.remove(&stream)),
            Fate::Broken => {
                self.connections.remove(&stream);
                wire::encode(out, wire::CANCEL, 0, stream, br#"{"reason":"closed"}"#);
            }
        }
    }
}

impl Connection {
    fn read(&mut self, stream: u32, out: &mut Vec<u8>) -> Fate {
        let mut buffer = [0u8; 16_384];
        let bytes_max = self.credit.min(buffer.len());
        match sys::read(self.socket.as_raw_fd(), &mut buffer[..bytes_max]) {
            Ok(0) => {
                self.is_read = true;
                wire::encode(out, wire::END, wire::FIN, stream, b"");
                self.fate()
            }
            Ok(count) => {
                self.credit -= count;
                wire::encode(out, wire::DATA, 0, stream, &buffer[..count]);
                Fate::Lives
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Fate::Lives,
            Err(_) => Fate::Broken,
        }
    }

    fn write(&mut self, stream: u32, out: &mut Vec<u8>) -> Fate {
        while !self.unwritten.is_empty() {
            match sys::send(self.socket.as_raw_fd(), &self.unwritten) {
                Ok(count) => {
                    self.unwritten.drain(..count);
                    self.taken += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Fate::Broken,
            }
        }
        if self.taken >= wire::CREDIT_STEP_BYTES && !self.is_host_done {
            wire::encode(out, wire::CREDIT, 0, stream, &(self.taken as u32).to_be_bytes());
            self.taken = 0;
        }
        if self.is_host_done && self.unwritten.is_empty() {
            // SAFETY: takes plain numbers; a socket that the guest has closed makes it fail, which is no matter.
            unsafe { libc::shutdown(self.socket.as_raw_fd(), libc::SHUT_WR) };
        }
        self.fate()
    }

    fn fate(&self) -> Fate {
        if self.is_read && self.is_host_done && self.unwritten.is_empty() {
            Fate::Done
        } else {
            Fate::Lives
        }
    }
}
