//! The launcher's end of the control socket: lines in, lines out, never blocking.

use crate::error::Error;
use crate::request::LINE_BYTES_MAX;
use crate::sys;
use serde_json::{json, Value};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

pub struct Control {
    socket: OwnedFd,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    /// In a line that was too long, until its end.
    is_skipping: bool,
    pub is_closed: bool,
}

impl Control {
    pub fn new(socket: OwnedFd) -> io::Result<Control> {
        sys::set_nonblocking(socket.as_raw_fd())?;
        Ok(Control { socket, unread: Vec::new(), unsent: Vec::new(), is_skipping: false, is_closed: false })
    }

    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reads what is there and returns the whole lines of it.
    pub fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = [0u8; 16_384];
        loop {
            match sys::read(self.fd(), &mut buffer) {
                Ok(0) => self.is_closed = true,
                Ok(count) => {
                    self.unread.extend_from_slice(&buffer[..count]);
                    if count == buffer.len() && self.unread.len() < LINE_BYTES_MAX {
                        continue;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.is_closed = true,
            }
            return self.lines();
        }
    }

    fn lines(&mut self) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let mut line: Vec<u8> = self.unread.drain(..=end).collect();
            line.pop();
            if !std::mem::take(&mut self.is_skipping) && !line.is_empty() {
                lines.push(line);
            }
        }
        if self.unread.len() > LINE_BYTES_MAX {
            self.unread.clear();
            if !std::mem::replace(&mut self.is_skipping, true) {
                self.fail(None, &Error::Line { reason: format!("it is longer than {LINE_BYTES_MAX} bytes") });
            }
        }
        lines
    }

    /// `{"id", "ok": true}` with the fields of `body`, an object.
    pub fn reply(&mut self, id: Option<u64>, body: Value) {
        let mut line = json!({ "id": id, "ok": true });
        if let (Value::Object(line), Value::Object(body)) = (&mut line, body) {
            line.extend(body);
        }
        self.push(&line);
    }

    pub fn fail(&mut self, id: Option<u64>, error: &Error) {
        self.push(&json!({ "id": id, "ok": false, "error": error.to_string(), "step": error.step() }));
    }

    pub fn log(&mut self, level: &str, message: &str) {
        self.push(&json!({ "event": "log", "level": level, "message": message }));
    }

    pub fn push(&mut self, line: &Value) {
        if !self.is_closed {
            self.unsent.extend_from_slice(line.to_string().as_bytes());
            self.unsent.push(b'\n');
        }
    }

    pub fn send(&mut self) {
        while !self.unsent.is_empty() {
            match sys::send(self.fd(), &self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.is_closed = true;
                    self.unsent.clear();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Control, OwnedFd) {
        let (ours, theirs) = sys::socketpair(libc::SOCK_STREAM).unwrap();
        (Control::new(ours).unwrap(), theirs)
    }

    fn text(fd: &OwnedFd) -> String {
        let mut buffer = [0u8; 4096];
        let count = sys::read(fd.as_raw_fd(), &mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    #[test]
    fn receive_cuts_lines_however_they_arrive() {
        let (mut control, platform) = pair();
        sys::write(platform.as_raw_fd(), b"{\"a\":1}\n{\"b").unwrap();
        assert_eq!(control.receive(), [b"{\"a\":1}".to_vec()]);
        sys::write(platform.as_raw_fd(), b"\":2}\n\n").unwrap();
        assert_eq!(control.receive(), [b"{\"b\":2}".to_vec()]);
        drop(platform);
        assert!(control.receive().is_empty());
        assert!(control.is_closed);
    }

    #[test]
    fn receive_skips_a_line_that_is_too_long_and_says_so_once() {
        let (mut control, platform) = pair();
        for _ in 0..6 {
            sys::write(platform.as_raw_fd(), &[b'x'; 20_000]).unwrap();
            assert!(control.receive().is_empty());
        }
        sys::write(platform.as_raw_fd(), b"\n{}\n").unwrap();
        assert_eq!(control.receive(), [b"{}".to_vec()]);
        control.send();
        assert_eq!(
            text(&platform),
            "{\"error\":\"A request must be one JSON object a line: it is longer than 65536 bytes.\",\"id\":null,\"ok\":false,\"step\":\"request\"}\n"
        );
    }

    #[test]
    fn reply_adds_the_fields_of_its_body() {
        let (mut control, platform) = pair();
        control.reply(Some(7), json!({ "pid": 12 }));
        control.send();
        assert_eq!(text(&platform), "{\"id\":7,\"ok\":true,\"pid\":12}\n");
    }
}
