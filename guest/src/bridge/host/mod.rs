//! The host's end: what is said on stream 0, events' flow control, and the platform's own question. Results are in results.rs, bytes in channel.rs.

mod channel;
mod results;

use super::failure::Failure;
use super::identity;
use crate::wire::{self, Frame};
use channel::Channel;
use results::Half;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;
use std::time::Duration;

pub struct Host {
    channel: Channel,
    halves: BTreeMap<u32, Half>,
    /// Streams on which the platform asks who we are.
    identities: BTreeSet<u32>,
    is_ready: bool,
    /// Credit that may be given only after READY.
    early_credits: Vec<(u32, usize)>,
}

impl Host {
    pub fn new(fd: RawFd) -> Host {
        Host {
            channel: Channel::new(fd),
            halves: BTreeMap::new(),
            identities: BTreeSet::new(),
            is_ready: false,
            early_credits: Vec::new(),
        }
    }

    pub fn hello(&mut self, epoch: &str, is_busy: bool) {
        let hello = json!({
            "protocol": 1, "role": "runtime", "epoch": epoch, "runtime": "bridge",
            "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id(), "isBusy": is_busy,
        });
        self.channel.frame(wire::HELLO, 0, 0, hello.to_string().as_bytes());
        self.channel.flush_whole();
    }

    pub fn ready(&mut self, load: Duration) {
        let ready = json!({ "loadMs": load.as_secs_f64() * 1e3 });
        self.channel.frame(wire::READY, 0, 0, ready.to_string().as_bytes());
        self.is_ready = true;
        for (stream, bytes) in std::mem::take(&mut self.early_credits) {
            self.give_credit(stream, bytes);
        }
    }

    pub fn fail_start(&mut self, failure: &Failure) {
        let text = failure.json(Some("code_load"));
        self.channel.frame(wire::FAIL, 0, 0, text.as_bytes());
    }

    /// Of frames on stream 0 that any phase may have.
    pub fn answer(&mut self, frame: &Frame, is_busy: bool) {
        match frame.kind {
            wire::PING if frame.flags == 0 => self.channel.frame(wire::PING, wire::ANSWER, 0, &frame.payload),
            wire::RESUME => {
                let epoch = super::wire_json(&frame.payload)["epoch"].as_str().unwrap_or("").to_string();
                self.halves.clear();
                self.is_ready = false;
                self.early_credits.clear();
                self.identities.clear();
                self.channel.frame(wire::RESUMED, 0, 0, json!({ "epoch": epoch }).to_string().as_bytes());
                self.hello(&epoch, is_busy);
            }
            // CONFIGURE has nothing for us; PREPARE_SNAPSHOT finds us quiet as it is.
            _ => {}
        }
    }

    /// The event's bytes were passed on: the host may send as many more.
    pub fn give_credit(&mut self, stream: u32, bytes: usize) {
        if !self.is_ready {
            self.early_credits.push((stream, bytes));
        } else if bytes > 0 {
            self.channel.frame(wire::CREDIT, 0, stream, &(bytes as u32).to_be_bytes());
        }
    }

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
            self.channel.frame(wire::DATA, wire::FIN, frame.stream, text.as_bytes());
        }
        true
    }

    pub fn go_nonblocking(&mut self) {
        self.channel.go_nonblocking();
    }

    pub fn interest(&self) -> libc::pollfd {
        self.channel.interest()
    }

    pub fn flush(&mut self) {
        self.channel.flush();
    }

    pub fn flush_whole(&mut self) {
        self.channel.flush_whole();
    }

    pub fn next_exactly(&mut self) -> Option<Frame> {
        self.channel.next_exactly()
    }

    pub fn receive(&mut self) -> Option<Vec<Frame>> {
        self.channel.receive()
    }
}
