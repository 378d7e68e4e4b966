//! What invocations are answered with: our halves of their streams, and how much of them the host takes.

use super::Host;
use crate::bridge::failure::Failure;
use crate::bridge::http;
use crate::wire::{self, Frame};
use serde_json::json;

/// While this much waits for the host, nothing more is read from programs.
const UNSENT_BYTES_MAX: usize = 262_144;
/// Flag of LOG.
const STDOUT: u8 = 1;

/// Our half of a stream.
pub struct Half {
    credit: usize,
    /// Waits for credit.
    pending: Vec<u8>,
    /// The last frame, once it is known: sent when nothing is pending.
    last: Option<Last>,
    /// The host wants no more bytes: they are thrown away.
    is_abandoned: bool,
    /// Work of it goes on after its end.
    has_open_work: bool,
}

enum Last {
    End,
    Fail(Failure),
}

impl Half {
    fn new() -> Half {
        Half { credit: wire::WINDOW_BYTES, pending: Vec::new(), last: None, is_abandoned: false, has_open_work: false }
    }

    fn last_flags(&self) -> u8 {
        wire::FIN | if self.has_open_work { wire::OPEN_WORK } else { 0 }
    }
}

impl Host {
    pub fn open(&mut self, stream: u32) {
        self.halves.insert(stream, Half::new());
    }

    /// Nothing will be said of it: its host gave it up before it could be answered.
    pub fn forget(&mut self, stream: u32) {
        self.halves.remove(&stream);
    }

    /// The host wants no more bytes of it; its end is still told.
    pub fn abandon(&mut self, stream: u32) {
        let Some(half) = self.halves.get_mut(&stream) else { return };
        half.is_abandoned = true;
        half.pending = Vec::new();
        self.pump(stream);
    }

    /// False when there is nothing open to note it on.
    pub fn note_open_work(&mut self, stream: u32) -> bool {
        let half = self.halves.get_mut(&stream);
        half.map(|half| half.has_open_work = true).is_some()
    }

    pub fn idle(&mut self, stream: u32) {
        self.channel.frame(wire::IDLE, 0, stream, b"");
    }

    /// A line for the function's log, on behalf of the program.
    pub fn log(&mut self, stream: u32, line: String) {
        let mut line = line.into_bytes();
        line.truncate(wire::PAYLOAD_BYTES_MAX - 1);
        line.push(b'\n');
        self.channel.frame(wire::LOG, STDOUT, stream, &line);
    }

    /// Status and headers. What they may not hold is the program's fault, and told as the failure to send instead.
    pub fn head(&mut self, stream: u32, status: u16, headers: &[(String, String)]) -> Result<(), Failure> {
        if self.halves.get(&stream).map_or(true, |half| half.is_abandoned) {
            return Ok(());
        }
        if let Some((name, value)) = headers.iter().find(|(name, value)| !http::is_header(name, value)) {
            let length = value.chars().count();
            let name: String = name.chars().take(64).collect();
            let message = if length > http::VALUE_BYTES_MAX {
                format!(
                    "The response's header {name:?} is {length} bytes long, and at most {} are passed on.",
                    http::VALUE_BYTES_MAX
                )
            } else {
                format!("The response's header {name:?} has a name or a value that cannot be sent.")
            };
            return Err(Failure::new("Runtime.InvalidResponse", &message));
        }
        let text = json!({ "status": status, "headers": headers }).to_string();
        if text.len() > wire::PAYLOAD_BYTES_MAX || headers.len() > http::HEADERS_MAX {
            let message = "The response has more than 256 headers, or more than 64 KiB of them.";
            return Err(Failure::new("Runtime.InvalidResponse", message));
        }
        self.channel.frame(wire::HEAD, 0, stream, text.as_bytes());
        Ok(())
    }

    pub fn data(&mut self, stream: u32, bytes: &[u8]) {
        let Some(half) = self.halves.get_mut(&stream).filter(|half| !half.is_abandoned) else { return };
        half.pending.extend_from_slice(bytes);
        self.pump(stream);
    }

    pub fn end(&mut self, stream: u32) {
        self.last(stream, Last::End);
    }

    pub fn fail(&mut self, stream: u32, failure: Failure) {
        self.last(stream, Last::Fail(failure));
    }

    /// The whole result, in one frame where it fits.
    pub fn finish_with(&mut self, stream: u32, bytes: &[u8]) {
        let half = self.halves.get(&stream).filter(|half| !half.is_abandoned && half.pending.is_empty());
        let flags = half.filter(|half| half.credit >= bytes.len()).map(Half::last_flags);
        match flags {
            Some(flags) if bytes.len() <= wire::PAYLOAD_BYTES_MAX && !bytes.is_empty() => {
                self.halves.remove(&stream);
                self.channel.frame(wire::DATA, flags, stream, bytes);
            }
            _ => {
                self.data(stream, bytes);
                self.end(stream);
            }
        }
    }

    /// More of this stream can be taken from its program now.
    pub fn has_room(&self, stream: u32) -> bool {
        let is_free = self.halves.get(&stream).map_or(true, |half| half.pending.is_empty());
        is_free && self.channel.unsent_bytes() < UNSENT_BYTES_MAX
    }

    pub fn credit(&mut self, frame: &Frame) {
        let Some(half) = self.halves.get_mut(&frame.stream) else { return };
        let bytes = frame.payload.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
        half.credit = half.credit.saturating_add(bytes);
        self.pump(frame.stream);
    }

    fn last(&mut self, stream: u32, last: Last) {
        let Some(half) = self.halves.get_mut(&stream) else { return };
        half.last = Some(last);
        self.pump(stream);
    }

    fn pump(&mut self, stream: u32) {
        let Some(half) = self.halves.get_mut(&stream) else { return };
        let mut sent = 0;
        while sent < half.pending.len() && half.credit > 0 {
            let count = (half.pending.len() - sent).min(half.credit).min(wire::PAYLOAD_BYTES_MAX);
            self.channel.frame(wire::DATA, 0, stream, &half.pending[sent..sent + count]);
            half.credit -= count;
            sent += count;
        }
        half.pending.drain(..sent);
        if !half.pending.is_empty() || half.last.is_none() {
            return;
        }
        let Some(half) = self.halves.remove(&stream) else { return };
        let flags = half.last_flags();
        match half.last {
            Some(Last::Fail(failure)) => self.channel.frame(wire::FAIL, flags, stream, failure.json(None).as_bytes()),
            _ => self.channel.frame(wire::END, flags, stream, b""),
        }
    }
}
