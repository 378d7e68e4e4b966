//! What is spoken with the program: one of three, behind one face.

use super::host::Host;
use super::lambda::Lambda;
use super::server::Server;
use crate::wire::{self, Frame};
use std::time::Instant;

pub enum Dialect {
    Lambda(Box<Lambda>),
    Server(Box<Server>),
    /// Bound to nothing: only the platform's own questions are answered.
    Nothing,
}

impl Dialect {
    /// Appends what it waits for; gives when it is to be woken in any case.
    pub fn interests(&self, host: &Host, polled: &mut Vec<libc::pollfd>) -> Option<Instant> {
        match self {
            Dialect::Lambda(lambda) => {
                lambda.interests(host, polled);
                return lambda.wake_at();
            }
            Dialect::Server(server) => {
                server.interests(host, polled);
                return server.wake_at();
            }
            Dialect::Nothing => {}
        }
        None
    }

    /// Does what poll said of the entries that `interests` appended.
    pub fn turn(&mut self, polled: &[libc::pollfd], host: &mut Host) {
        match self {
            Dialect::Lambda(lambda) => lambda.turn(polled, host),
            Dialect::Server(server) => server.turn(polled, host),
            Dialect::Nothing => {}
        }
    }

    /// Gives the program what waited for it, after READY was said.
    pub fn deliver(&mut self, host: &mut Host) {
        match self {
            Dialect::Lambda(lambda) => lambda.deliver(host),
            Dialect::Server(server) => server.begin_all(host),
            Dialect::Nothing => {}
        }
    }

    /// A frame of an invocation.
    pub fn take(&mut self, frame: Frame, host: &mut Host) {
        match self {
            Dialect::Lambda(lambda) => lambda.take(frame, host),
            Dialect::Server(server) => server.take(frame, host),
            // A program brings its own code: there is nothing to compile, so the pack is empty.
            Dialect::Nothing if frame.kind == wire::INVOKE => {
                host.open(frame.stream);
                host.end(frame.stream);
            }
            Dialect::Nothing => {}
        }
    }

    /// What an earlier host wanted is no matter any more; true when something of it ran.
    pub fn forget_all(&mut self) -> bool {
        match self {
            Dialect::Lambda(lambda) => lambda.forget_all(),
            Dialect::Server(server) => server.forget_all(),
            Dialect::Nothing => false,
        }
    }

    pub fn is_ready(&self) -> bool {
        match self {
            Dialect::Lambda(lambda) => lambda.is_ready(),
            Dialect::Server(server) => server.is_ready(),
            Dialect::Nothing => true,
        }
    }

    /// The program said that it cannot start.
    pub fn has_failed_to_start(&self) -> bool {
        matches!(self, Dialect::Lambda(lambda) if lambda.has_failed_to_start)
    }

    /// What makes it ready, as the end of "it ended before ...".
    pub fn awaited(&self) -> String {
        match self {
            Dialect::Lambda(_) => "it asked for its first invocation".to_string(),
            Dialect::Server(server) => format!("it accepted a connection on port {}", server.port()),
            Dialect::Nothing => String::new(),
        }
    }
}
