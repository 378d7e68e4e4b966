//! One of the VM's three byte streams to the host: a virtio port, or the one connection of a listening socket. The host may
//! come, go and come again.

use crate::sys::{self, Epoll};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

enum Way {
    /// A port reports POLLHUP as long as no host holds the other end, so its coming is told by an edge.
    Port {
        port: OwnedFd,
        edge: Epoll,
    },
    Listener {
        listener: OwnedFd,
        stream: Option<OwnedFd>,
    },
}

pub struct Line {
    way: Way,
    is_connected: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Nothing,
    /// So many bytes are in the buffer.
    Bytes(usize),
    /// The host has gone.
    Lost,
    /// A host has come, perhaps in place of another.
    Connected,
}

impl Line {
    pub fn port(port: OwnedFd) -> io::Result<Line> {
        let edge = Epoll::new()?;
        edge.add(port.as_raw_fd(), 0, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET)?;
        Ok(Line { way: Way::Port { port, edge }, is_connected: false })
    }

    /// Takes a listening socket that does not block.
    pub fn listener(listener: OwnedFd) -> Line {
        Line { way: Way::Listener { listener, stream: None }, is_connected: false }
    }

    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// What to write to while connected.
    pub fn fd(&self) -> RawFd {
        match &self.way {
            Way::Port { port, .. } => port.as_raw_fd(),
            Way::Listener { stream, .. } => stream.as_ref().map_or(-1, AsRawFd::as_raw_fd),
        }
    }

    /// Two entries for poll: where a host comes in, and its bytes.
    pub fn interests(&self, may_read: bool, has_output: bool) -> [libc::pollfd; 2] {
        let door = match &self.way {
            Way::Port { edge, .. } if !self.is_connected => edge.fd(),
            Way::Port { .. } => -1,
            Way::Listener { listener, .. } => listener.as_raw_fd(),
        };
        let events = if may_read { libc::POLLIN } else { 0 } | if has_output { libc::POLLOUT } else { 0 };
        let fd = if self.is_connected { self.fd() } else { -1 };
        [libc::pollfd { fd: door, events: libc::POLLIN, revents: 0 }, libc::pollfd { fd, events, revents: 0 }]
    }

    /// Does what poll said of the two entries; reads into `buffer`.
    pub fn attend(&mut self, polled: &[libc::pollfd], may_read: bool, buffer: &mut [u8]) -> Event {
        if polled[0].revents != 0 && self.answer_door() {
            self.is_connected = true;
            return Event::Connected;
        }
        let events = polled[1].revents;
        if !self.is_connected || events & !libc::POLLOUT == 0 {
            return Event::Nothing;
        }
        if !may_read && events & (libc::POLLHUP | libc::POLLERR) != 0 {
            return self.lose();
        }
        match sys::read(self.fd(), buffer) {
            Ok(0) => self.lose(),
            Ok(count) => Event::Bytes(count),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                // A port without its host has nothing to read, which is no error to it.
                if events & libc::POLLHUP != 0 {
                    self.lose()
                } else {
                    Event::Nothing
                }
            }
            Err(_) => self.lose(),
        }
    }

    /// Lets go of a connection that broke. Its successor may be there already: the door then says so at once.
    pub fn lose(&mut self) -> Event {
        self.is_connected = false;
        match &mut self.way {
            // An edge may have been seen while the old host was there.
            Way::Port { port, edge } => {
                drop(edge.modify(port.as_raw_fd(), 0, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET))
            }
            Way::Listener { stream, .. } => *stream = None,
        }
        Event::Lost
    }

    fn answer_door(&mut self) -> bool {
        match &mut self.way {
            Way::Port { port, edge } => {
                let _ = edge.wait(0);
                let mut poll = libc::pollfd { fd: port.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
                // SAFETY: one entry, which lives over the call.
                let count = unsafe { libc::poll(&mut poll, 1, 0) };
                count >= 0 && poll.revents & libc::POLLHUP == 0
            }
            Way::Listener { listener, stream } => {
                let Ok(accepted) = accept_host(listener.as_raw_fd()) else { return false };
                *stream = Some(accepted);
                true
            }
        }
    }
}

/// Takes a connection, but not one from inside of the VM: whoever runs here might try to pass for the host.
fn accept_host(listener: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: all zeroes is a valid `sockaddr_vm`.
    let mut peer: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    let mut length = std::mem::size_of::<libc::sockaddr_vm>() as u32;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes at most `length` bytes into `peer`; both live over the call.
    let fd = unsafe { libc::accept4(listener, (&mut peer as *mut libc::sockaddr_vm).cast(), &mut length, flags) };
    sys::check_int(fd)?;
    // SAFETY: accept4 has just returned this descriptor to us alone.
    let stream = unsafe { OwnedFd::from_raw_fd(fd) };
    if libc::c_int::from(peer.svm_family) == libc::AF_VSOCK && peer.svm_cid != libc::VMADDR_CID_HOST {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    /// Waits for something and does it, as the loop of init does.
    fn turn(line: &mut Line, buffer: &mut [u8]) -> Event {
        let mut polled = line.interests(true, false);
        // SAFETY: the list lives over the call and its length is given.
        assert!(unsafe { libc::poll(polled.as_mut_ptr(), 2, 2_000) } > 0, "nothing came");
        line.attend(&polled, true, buffer)
    }

    #[test]
    fn a_listening_line_takes_one_host_after_the_other() {
        let path = std::env::temp_dir().join(format!("hearth-line-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut line = Line::listener(listener.into());
        let mut buffer = [0u8; 64];
        assert!(!line.is_connected());

        let mut first = UnixStream::connect(&path).unwrap();
        assert_eq!(turn(&mut line, &mut buffer), Event::Connected);
        first.write_all(b"one").unwrap();
        assert_eq!(turn(&mut line, &mut buffer), Event::Bytes(3));
        assert_eq!(&buffer[..3], b"one");

        // A second one takes the place of the first, whose end then says so.
        let second = UnixStream::connect(&path).unwrap();
        assert_eq!(turn(&mut line, &mut buffer), Event::Connected);
        assert_eq!(first.read(&mut [0u8; 1]).unwrap(), 0);

        drop(second);
        assert_eq!(turn(&mut line, &mut buffer), Event::Lost);
        assert!(!line.is_connected());
        let _third = UnixStream::connect(&path).unwrap();
        assert_eq!(turn(&mut line, &mut buffer), Event::Connected);
        std::fs::remove_file(&path).unwrap();
    }
}
