//! The end of what a VMM wrote to stderr.

use crate::sys;
use std::collections::VecDeque;
use std::os::fd::RawFd;

const TAIL_BYTES: usize = 8_192;
/// What is read in one turn of the launcher's loop: a flood must not hold up other verbs.
const TURN_BYTES: usize = 65_536;

#[derive(Default)]
pub struct Tail(VecDeque<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let excess = (self.0.len() + bytes.len()).saturating_sub(TAIL_BYTES);
        self.0.drain(..excess);
        self.0.extend(bytes);
    }

    /// Reads what is in a non-blocking pipe; false at its end.
    pub fn read(&mut self, pipe: RawFd) -> bool {
        let mut buffer = [0u8; 16_384];
        for _ in 0..TURN_BYTES / buffer.len() {
            match sys::read(pipe, &mut buffer) {
                Ok(0) => return false,
                Ok(count) => self.push(&buffer[..count]),
                Err(_) => return true,
            }
        }
        true
    }

    pub fn text(&self) -> String {
        let (front, back) = self.0.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn tail_keeps_the_last_bytes() {
        let mut tail = Tail::default();
        tail.push(b"first ");
        assert_eq!(tail.text(), "first ");
        tail.push(&[b'x'; TAIL_BYTES - 4]);
        tail.push(b"last");
        assert_eq!(tail.text().len(), TAIL_BYTES);
        assert!(tail.text().starts_with("xx") && tail.text().ends_with("xlast"));
        tail.push(&[b'y'; 3 * TAIL_BYTES]);
        assert_eq!(tail.text(), "y".repeat(TAIL_BYTES));
    }

    #[test]
    fn read_takes_what_is_there_and_tells_the_end() {
        let (read, write) = sys::pipe(libc::O_NONBLOCK).unwrap();
        let mut tail = Tail::default();
        assert!(tail.read(read.as_raw_fd()));
        sys::write(write.as_raw_fd(), b"ab").unwrap();
        assert!(tail.read(read.as_raw_fd()));
        drop(write);
        assert!(!tail.read(read.as_raw_fd()));
        assert_eq!(tail.text(), "ab");
    }
}
