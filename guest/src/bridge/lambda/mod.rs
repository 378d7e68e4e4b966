//! Lambda's Runtime API on 127.0.0.1:9001: the program asks for invocations and posts results. Who asks is known by the listener, so one
//! sandbox is one function. Here is who is connected and what each waits for; requests are told apart in routes.rs, events wait in inbox.rs,
//! results go through results.rs.

mod client;
mod extensions;
mod inbox;
mod reply;
mod results;
mod routes;

use super::bind::{Bind, RUNTIME_API};
use super::connection::Connection;
use super::failure::Failure;
use super::host::Host;
use super::http::Head;
use crate::sys;
use crate::wire::{self, Frame};
use client::{Client, State};
use extensions::Extensions;
use inbox::{Event, Inbox};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long extensions may take before the log says which are awaited.
const EXTENSION_PATIENCE: Duration = Duration::from_secs(1);
const CONNECTIONS_MAX: usize = 128;

pub struct Lambda {
    listener: OwnedFd,
    clients: Vec<Client>,
    inbox: Inbox,
    /// Given to the program: id to stream.
    running: BTreeMap<String, u32>,
    /// Answered, while extensions still work on them.
    lingering: Vec<u32>,
    extensions: Extensions,
    bound: Bind,
    has_asked: bool,
    /// When it is said, once, whom the start of a program that is ready waits for.
    told_at: Option<Instant>,
    has_told: bool,
    is_ready: bool,
    pub has_failed_to_start: bool,
}

impl Lambda {
    /// `extensions`: programs that are started beside the user's own.
    pub fn listen(bound: &Bind, extensions: &[String]) -> Result<Lambda, Failure> {
        let listener = sys::listen_loopback(9001).map_err(|error| {
            Failure::new("Runtime.StartFailed", &format!("Cannot listen on {RUNTIME_API}: {error}."))
        })?;
        Ok(Lambda {
            listener,
            clients: Vec::new(),
            inbox: Inbox::default(),
            running: BTreeMap::new(),
            lingering: Vec::new(),
            extensions: Extensions::new(
                extensions.iter().filter_map(|file| file.rsplit('/').next()).map(str::to_string).collect(),
            ),
            told_at: None,
            has_told: false,
            bound: bound.clone(),
            has_asked: false,
            is_ready: false,
            has_failed_to_start: false,
        })
    }

    /// The program and all extensions have asked for what comes first.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// What an earlier host wanted is no matter any more; tells whether there was something.
    pub fn forget_all(&mut self) -> bool {
        let is_busy = !self.running.is_empty() || !self.inbox.is_empty();
        self.inbox = Inbox::default();
        self.running.clear();
        self.lingering.clear();
        self.clients.retain(|client| !matches!(client.state, State::Receiving(_)));
        is_busy
    }

    pub fn interests(&self, host: &Host, polled: &mut Vec<libc::pollfd>) {
        let may_accept = self.clients.len() < CONNECTIONS_MAX;
        polled.push(super::entry(&self.listener, if may_accept { libc::POLLIN } else { 0 }));
        for client in &self.clients {
            polled.push(client.connection.interest(client.stream().map_or(true, |stream| host.has_room(stream))));
        }
    }

    /// Does what poll said.
    pub fn turn(&mut self, polled: &[libc::pollfd], host: &mut Host) {
        for (client, entry) in self.clients.iter_mut().zip(&polled[1..]) {
            client.connection.turn(entry.revents);
        }
        self.advance_all(host);
        if polled[0].revents != 0 {
            while let Ok(socket) = sys::accept(self.listener.as_raw_fd()) {
                let mut connection = Connection::new(socket);
                // A client sends its request right behind: one poll less.
                connection.read();
                self.clients.push(Client::new(connection));
            }
            self.advance_all(host);
        }
        self.is_ready |= self.has_asked && self.extensions.are_up();
        self.name_who_is_late(host);
    }

    pub fn wake_at(&self) -> Option<Instant> {
        self.told_at.filter(|_| !self.is_ready && !self.has_told)
    }

    /// The host knows the program alone, and would blame it for a start that comes to its limit.
    fn name_who_is_late(&mut self, host: &mut Host) {
        if self.is_ready || !self.has_asked {
            return;
        }
        let at = *self.told_at.get_or_insert_with(|| Instant::now() + EXTENSION_PATIENCE);
        if !self.has_told && Instant::now() >= at {
            self.has_told = true;
            let awaited = self.extensions.awaited();
            host.log(0, format!("[hearth] The program is ready; its start waits for extensions: {awaited}."));
        }
    }

    /// Gives what is there to whoever waits for it.
    pub fn deliver(&mut self, host: &mut Host) {
        if !self.is_ready {
            return;
        }
        self.advance_all(host);
        // The next one waits for extensions that still work on the last.
        while !self.extensions.are_busy() {
            let Some(at) = self.clients.iter().position(|client| matches!(client.state, State::Waiting)) else { break };
            let Some(event) = self.inbox.take_first() else { break };
            self.give(at, event);
        }
        for client in &mut self.clients {
            let State::Listening(id) = &client.state else { continue };
            if let Ok(Some(answer)) = self.extensions.next(Some(id)) {
                client.answer(&answer);
            }
        }
        if !self.extensions.are_busy() {
            self.lingering.drain(..).for_each(|stream| host.idle(stream));
        }
    }

    pub fn take(&mut self, frame: Frame, host: &mut Host) {
        match frame.kind {
            wire::INVOKE => self.inbox.open(&frame, host),
            wire::DATA | wire::END => self.inbox.push(&frame, host),
            wire::CREDIT => host.credit(&frame),
            wire::CANCEL => self.cancel(frame.stream, host),
            _ => {}
        }
    }

    /// Extensions are told; the program is not asked, it gets a signal.
    pub fn shut_down(&mut self, kill_at: Option<Instant>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = kill_at.map_or_else(Default::default, |at| at.saturating_duration_since(Instant::now()));
        self.extensions.shut_down((now + left).as_millis() as u64);
    }

    /// One that the program does not have yet is over; the program itself cannot be told, it answers into the void.
    fn cancel(&mut self, stream: u32, host: &mut Host) {
        let is_waiting = self.inbox.remove(stream);
        host.abandon(stream);
        match (is_waiting, self.is_ready) {
            (true, true) => host.fail(stream, Failure::new("Runtime.Cancelled", "The invocation was cancelled.")),
            // Nothing may be said of it before READY.
            (true, false) => host.forget(stream),
            (false, _) => {}
        }
    }

    fn advance_all(&mut self, host: &mut Host) {
        let mut at = 0;
        while at < self.clients.len() {
            while self.advance(at, host) {}
            if !self.clients[at].is_over() {
                at += 1;
                continue;
            }
            if let State::Receiving(receiving) = self.clients.remove(at).state {
                self.broken(*receiving, host);
            }
        }
    }

    /// Goes a step on with one connection; false when there is nothing to do on it now.
    fn advance(&mut self, at: usize, host: &mut Host) -> bool {
        match &self.clients[at].state {
            State::Idle if self.clients[at].keeps_alive => self.read_head(at),
            State::Receiving(_) => self.read_body(at, host),
            _ => false,
        }
    }

    fn read_head(&mut self, at: usize) -> bool {
        let client = &mut self.clients[at];
        let parsed = match Head::parse(&client.connection.input) {
            Ok(None) => return false,
            Ok(Some((head, length))) => {
                client.connection.input.drain(..length);
                client.keeps_alive = head.keeps_alive(&head.words[2]);
                head.framing(true).map(|framing| (head, framing))
            }
            Err(rule) => Err(rule),
        };
        match parsed {
            Ok((head, framing)) => self.route(at, &head, framing),
            Err(rule) => client.break_off(rule),
        }
        true
    }

    fn give(&mut self, at: usize, event: Event) {
        let arn = self.bound.arn();
        self.extensions.invoke(&event, &arn);
        self.clients[at].reply(200, &event.headers(&arn), &event.body);
        self.running.insert(event.id, event.stream);
    }
}
