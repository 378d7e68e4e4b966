//! The host's end: frames on descriptor 3, and the flow control of the streams towards it.

use super::azure;
use super::failure::Failure;
use super::http;
use super::identity;
use crate::sys;
use crate::wire::{self, Decoder, Frame};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// While this much waits for the host, nothing more is read from programs.
const UNSENT_BYTES_MAX: usize = 262_144;
const HELD_BYTES_MAX: usize = 6 * 1024 * 1024;
/// Flag of LOG.
const STDOUT: u8 = 1;

/// Our half of a stream.
struct Half {
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
    fn last_flags(&self) -> u8 {
        wire::FIN | if self.has_open_work { wire::OPEN_WORK } else { 0 }
    }
}

pub struct Host {
    fd: RawFd,
    decoder: Decoder,
    unsent: Vec<u8>,
    halves: BTreeMap<u32, Half>,
    identities: BTreeSet<u32>,
    /// Answers of custom handlers, which are translated when they are whole: status and body.
    held: BTreeMap<u32, (u16, Vec<u8>)>,
    is_ready: bool,
    /// Credit that may be given only after READY.
    early_credits: Vec<(u32, usize)>,
}

impl Host {
    pub fn new(fd: RawFd) -> Host {
        Host {
            fd,
            decoder: Decoder::default(),
            unsent: Vec::new(),
            halves: BTreeMap::new(),
            identities: BTreeSet::new(),
            held: BTreeMap::new(),
            is_ready: false,
            early_credits: Vec::new(),
        }
    }

    pub fn hello(&mut self, epoch: &str, is_busy: bool) {
        let hello = json!({
            "protocol": 1, "role": "runtime", "epoch": epoch, "runtime": "bridge",
            "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id(), "isBusy": is_busy,
        });
        self.frame(wire::HELLO, 0, 0, hello.to_string().as_bytes());
        self.flush_whole();
    }

    pub fn ready(&mut self, load: Duration) {
        let ready = json!({ "loadMs": load.as_secs_f64() * 1e3 });
        self.frame(wire::READY, 0, 0, ready.to_string().as_bytes());
        self.is_ready = true;
        for (stream, bytes) in std::mem::take(&mut self.early_credits) {
            self.give_credit(stream, bytes);
        }
    }

    pub fn fail_start(&mut self, failure: &Failure) {
        let text = failure.json(Some("code_load"));
        self.frame(wire::FAIL, 0, 0, text.as_bytes());
    }

    /// Of frames on stream 0 that any phase may have.
    pub fn answer(&mut self, frame: &Frame, is_busy: bool) {
        match frame.kind {
            wire::PING if frame.flags == 0 => self.frame(wire::PING, wire::ANSWER, 0, &frame.payload),
            wire::RESUME => {
                let epoch = super::wire_json(&frame.payload)["epoch"].as_str().unwrap_or("").to_string();
                self.halves.clear();
                self.is_ready = false;
                self.held.clear();
                self.early_credits.clear();
                self.identities.clear();
                self.frame(wire::RESUMED, 0, 0, json!({ "epoch": epoch }).to_string().as_bytes());
                self.hello(&epoch, is_busy);
            }
            // CONFIGURE has nothing for us; PREPARE_SNAPSHOT finds us quiet as it is.
            _ => {}
        }
    }

    // ---- invocations' results

    pub fn open(&mut self, stream: u32) {
        self.halves.insert(
            stream,
            Half {
                credit: wire::WINDOW_BYTES,
                pending: Vec::new(),
                last: None,
                is_abandoned: false,
                has_open_work: false,
            },
        );
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
        self.frame(wire::IDLE, 0, stream, b"");
    }

    /// Status and headers. What they may not hold is the program's fault, and told as the failure to send instead.
    pub fn head(&mut self, stream: u32, status: u16, headers: &[(String, String)]) -> Result<(), Failure> {
        if self.halves.get(&stream).map_or(true, |half| half.is_abandoned) {
            return Ok(());
        }
        if let Some(held) = self.held.get_mut(&stream) {
            held.0 = status;
            return Ok(());
        }
        if let Some((name, _)) = headers.iter().find(|(name, value)| !http::is_header(name, value)) {
            let name: String = name.chars().take(64).collect();
            let message = format!("The response's header {name:?} has a name or a value that cannot be sent.");
            return Err(Failure::new("Runtime.InvalidResponse", &message));
        }
        let text = json!({ "status": status, "headers": headers }).to_string();
        if text.len() > wire::PAYLOAD_BYTES_MAX || headers.len() > http::HEADERS_MAX {
            let message = "The response has more than 256 headers, or more than 64 KiB of them.";
            return Err(Failure::new("Runtime.InvalidResponse", message));
        }
        self.frame(wire::HEAD, 0, stream, text.as_bytes());
        Ok(())
    }

    /// The answer on `stream` will be a custom handler's.
    pub fn hold(&mut self, stream: u32) {
        self.held.insert(stream, (0, Vec::new()));
    }

    /// The held answer is whole: its logs, head and body go out.
    fn release(&mut self, stream: u32, (status, body): (u16, Vec<u8>)) {
        if body.len() > HELD_BYTES_MAX {
            return self.fail(
                stream,
                Failure::new("Function.ResponseSizeTooLarge", "The custom handler's answer is larger than 6 MiB."),
            );
        }
        match azure::answer(status, &body) {
            Err(failure) => self.fail(stream, failure),
            Ok(azure::Answer { logs, head, body }) => {
                for line in logs {
                    let mut line = line.into_bytes();
                    line.truncate(wire::PAYLOAD_BYTES_MAX - 1);
                    line.push(b'\n');
                    self.frame(wire::LOG, STDOUT, stream, &line);
                }
                match head.map_or(Ok(()), |(status, headers)| self.head(stream, status, &headers)) {
                    Ok(()) => self.finish_with(stream, &body),
                    Err(failure) => self.fail(stream, failure),
                }
            }
        }
    }

    pub fn data(&mut self, stream: u32, bytes: &[u8]) {
        if let Some((_, body)) = self.held.get_mut(&stream) {
            // One byte too many shows that it is too large.
            let count = bytes.len().min((HELD_BYTES_MAX + 1).saturating_sub(body.len()));
            return body.extend_from_slice(&bytes[..count]);
        }
        let Some(half) = self.halves.get_mut(&stream).filter(|half| !half.is_abandoned) else { return };
        half.pending.extend_from_slice(bytes);
        self.pump(stream);
    }

    pub fn end(&mut self, stream: u32) {
        if let Some(held) = self.held.remove(&stream) {
            return self.release(stream, held);
        }
        self.last(stream, Last::End);
    }

    pub fn fail(&mut self, stream: u32, failure: Failure) {
        self.held.remove(&stream);
        self.last(stream, Last::Fail(failure));
    }

    fn last(&mut self, stream: u32, last: Last) {
        let Some(half) = self.halves.get_mut(&stream) else { return };
        half.last = Some(last);
        self.pump(stream);
    }

    /// The whole result, in one frame where it fits.
    pub fn finish_with(&mut self, stream: u32, bytes: &[u8]) {
        if self.held.contains_key(&stream) {
            self.data(stream, bytes);
            return self.end(stream);
        }
        let half = self.halves.get(&stream).filter(|half| !half.is_abandoned && half.pending.is_empty());
        let flags = half.filter(|half| half.credit >= bytes.len()).map(Half::last_flags);
        match flags {
            Some(flags) if bytes.len() <= wire::PAYLOAD_BYTES_MAX && !bytes.is_empty() => {
                self.halves.remove(&stream);
                self.frame(wire::DATA, flags, stream, bytes);
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
        is_free && self.unsent.len() < UNSENT_BYTES_MAX
    }

    pub fn credit(&mut self, frame: &Frame) {
        let Some(half) = self.halves.get_mut(&frame.stream) else { return };
        let bytes = frame.payload.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
        half.credit = half.credit.saturating_add(bytes);
        self.pump(frame.stream);
    }

    /// The event's bytes were passed on: the host may send as many more.
    pub fn give_credit(&mut self, stream: u32, bytes: usize) {
        if !self.is_ready {
            self.early_credits.push((stream, bytes));
        } else if bytes > 0 {
            self.frame(wire::CREDIT, 0, stream, &(bytes as u32).to_be_bytes());
        }
    }

    fn pump(&mut self, stream: u32) {
        let Some(half) = self.halves.get_mut(&stream) else { return };
        let mut sent = 0;
        while sent < half.pending.len() && half.credit > 0 {
            let count = (half.pending.len() - sent).min(half.credit).min(wire::PAYLOAD_BYTES_MAX);
            wire::encode(&mut self.unsent, wire::DATA, 0, stream, &half.pending[sent..sent + count]);
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
            Some(Last::Fail(failure)) => self.frame(wire::FAIL, flags, stream, failure.json(None).as_bytes()),
            _ => self.frame(wire::END, flags, stream, b""),
        }
    }

    // ---- the platform's own question

    pub fn note_identity(&mut self, stream: u32) {
        self.identities.insert(stream);
    }

    /// Takes the rest of such an invocation; answers at its end.
    pub fn answers_identity(&mut self, frame: &Frame) -> bool {
        if !self.identities.contains(&frame.stream) {
            return false;
        }
        if frame.flags & wire::FIN != 0 || frame.kind == wire::END {
            self.identities.remove(&frame.stream);
            let text = identity::draw();
            self.frame(wire::DATA, wire::FIN, frame.stream, text.as_bytes());
        }
        true
    }

    // ---- bytes

    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        wire::encode(&mut self.unsent, kind, flags, stream, payload);
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
