//! A line with what waits to be sent on it, and the HELLO that each of its connections begins with.

use super::line::{Event, Line};
use super::outbox::Outbox;

pub struct Channel {
    line: Line,
    pub outbox: Outbox,
    /// The guest's HELLO as a whole frame; empty while there is nothing to say.
    greeting: Vec<u8>,
    /// The host broke the protocol: what it still sends on this connection is not read as frames.
    pub is_deaf: bool,
}

impl Channel {
    pub fn new(line: Line) -> Channel {
        Channel { line, outbox: Outbox::default(), greeting: Vec::new(), is_deaf: false }
    }

    pub fn is_connected(&self) -> bool {
        self.line.is_connected()
    }

    /// Says `hello` (a whole frame) now, and first on each later connection.
    pub fn greet(&mut self, hello: &[u8]) {
        self.greeting = hello.to_vec();
        if self.is_connected() {
            self.outbox.bytes.extend_from_slice(hello);
        }
    }

    pub fn is_greeted(&self) -> bool {
        !self.greeting.is_empty()
    }

    /// Says `hello` on later connections only.
    pub fn greet_later(&mut self, hello: &[u8]) {
        self.greeting = hello.to_vec();
    }

    /// No connection is greeted from now on.
    pub fn fall_silent(&mut self) {
        self.greeting.clear();
    }

    pub fn interests(&self, may_read: bool) -> [libc::pollfd; 2] {
        self.line.interests(may_read, !self.outbox.is_empty())
    }

    /// Does what poll said of the two entries. Of the frames that waited for a host, a new one gets those that are `kept`.
    pub fn attend(&mut self, polled: &[libc::pollfd], buffer: &mut [u8], kept: fn(u8) -> bool) -> Event {
        let may_read = polled[1].events & libc::POLLIN != 0;
        let event = self.line.attend(polled, may_read, buffer);
        if matches!(event, Event::Connected | Event::Lost) {
            self.is_deaf = false;
        }
        if event == Event::Connected {
            self.outbox.begin_anew(&self.greeting, kept);
        }
        event
    }

    /// Sends what the host takes; false when it turns out to be gone.
    pub fn send(&mut self) -> bool {
        if !self.is_connected() || self.outbox.write_to(self.line.fd()).is_ok() {
            return true;
        }
        self.line.lose();
        false
    }
}
