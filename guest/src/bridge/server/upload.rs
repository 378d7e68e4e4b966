//! A request on its way to the server: how its body is delimited, what was sent of it, and whether it may be sent once more.

use super::request::Request;
use crate::bridge::connection::Connection;
use crate::wire;

/// A request whose head and body have no more can be sent once more.
const REPLAY_BYTES_MAX: usize = 65_536;

#[derive(Debug, PartialEq, Eq)]
enum Framing {
    /// Shows with the first bytes.
    Undecided,
    Length(u64),
    Chunked,
    /// Both sides say what they like.
    Raw,
    Done,
}

pub struct Upload {
    method: String,
    /// Until it is decided how the body is delimited: without the end of its headers.
    head: Vec<u8>,
    framing: Framing,
    /// What was sent, for a second time; None when that must not be.
    sent: Option<Vec<u8>>,
    unsent: Vec<u8>,
    /// What came of an event; None for a request that streams.
    whole: Option<Vec<u8>>,
    /// Taken from the host and not given back as credit.
    owed: usize,
    ends_when_sent: bool,
}

impl Upload {
    pub fn new(request: Request) -> Upload {
        let may_repeat = request.may_repeat(REPLAY_BYTES_MAX as u64);
        let mut upload = Upload {
            framing: Framing::Undecided,
            sent: may_repeat.then(Vec::new),
            unsent: Vec::new(),
            whole: request.is_event.then(Vec::new),
            owed: 0,
            ends_when_sent: false,
            method: request.method,
            head: request.head,
        };
        if request.is_upgrade {
            upload.begin("", Framing::Raw);
        } else if let Some(length) = request.length {
            upload.begin("", Framing::Length(length));
        }
        upload
    }

    pub fn method(&self) -> &str {
        &self.method
    }

    /// It asked to leave HTTP behind.
    pub fn is_raw(&self) -> bool {
        self.framing == Framing::Raw
    }

    /// All of it has been queued.
    pub fn is_done(&self) -> bool {
        self.framing == Framing::Done
    }

    /// The next bytes of the event. False when it ended before its length was reached: the server must not take it for the whole.
    pub fn push(&mut self, bytes: &[u8], is_last: bool) -> bool {
        let Some(mut whole) = self.whole.take() else { return self.pass(bytes, is_last) };
        self.owed += bytes.len();
        whole.extend_from_slice(bytes);
        if is_last {
            return self.pass(&whole, true);
        }
        self.whole = Some(whole);
        true
    }

    /// Sends what is queued; gives how many bytes the host may send in their place.
    pub fn turn(&mut self, connection: &mut Connection, events: i16) -> usize {
        if !self.unsent.is_empty() {
            connection.send(&std::mem::take(&mut self.unsent));
        } else if events & libc::POLLOUT != 0 {
            connection.flush();
        }
        if connection.is_unsent() {
            return 0;
        }
        if std::mem::take(&mut self.ends_when_sent) {
            connection.end();
        }
        if self.owed < wire::CREDIT_STEP_BYTES || self.is_done() {
            return 0;
        }
        std::mem::take(&mut self.owed)
    }

    pub fn may_repeat(&self) -> bool {
        self.sent.is_some()
    }

    /// The server has spoken: it is not sent again.
    pub fn settle(&mut self) {
        self.sent = None;
    }

    pub fn repeat(&mut self) {
        self.unsent = self.sent.take().unwrap_or_default();
    }

    fn pass(&mut self, bytes: &[u8], is_last: bool) -> bool {
        if self.framing == Framing::Undecided {
            self.decide(bytes, is_last);
        }
        self.owed += bytes.len();
        let mut is_short = false;
        match &mut self.framing {
            Framing::Length(left) => {
                let count = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= count as u64;
                is_short = is_last && *left > 0;
                self.queue(&bytes[..count]);
            }
            Framing::Chunked => self.queue_chunk(bytes, is_last),
            Framing::Raw => {
                self.queue(bytes);
                self.ends_when_sent = is_last;
            }
            Framing::Undecided | Framing::Done => {}
        }
        if is_last && !self.is_raw() {
            self.framing = Framing::Done;
        }
        !is_short
    }

    /// By its length where that is known, else in chunks.
    fn decide(&mut self, bytes: &[u8], is_last: bool) {
        if !is_last {
            self.begin("transfer-encoding: chunked\r\n", Framing::Chunked);
        } else if bytes.is_empty() && matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "DELETE") {
            self.begin("", Framing::Length(0));
        } else {
            self.begin(&format!("content-length: {}\r\n", bytes.len()), Framing::Length(bytes.len() as u64));
        }
    }

    fn begin(&mut self, header: &str, framing: Framing) {
        let mut head = std::mem::take(&mut self.head);
        head.extend_from_slice(header.as_bytes());
        head.extend_from_slice(b"\r\n");
        self.queue(&head);
        self.framing = framing;
    }

    fn queue_chunk(&mut self, bytes: &[u8], is_last: bool) {
        if !bytes.is_empty() {
            let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
            chunk.extend_from_slice(bytes);
            chunk.extend_from_slice(b"\r\n");
            self.queue(&chunk);
        }
        if is_last {
            self.queue(b"0\r\n\r\n");
        }
    }

    fn queue(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        let Some(sent) = &mut self.sent else { return };
        if sent.len() + bytes.len() <= REPLAY_BYTES_MAX {
            sent.extend_from_slice(bytes);
        } else {
            self.sent = None;
        }
    }
}
