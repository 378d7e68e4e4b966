//! Contract `http`: the program is a server on $PORT; each invocation is one request to it, over connections that are kept.

mod exchange;
mod listening;
mod request;
mod upload;

use super::azure::Azure;
use super::connection::Connection;
use super::failure::Failure;
use super::host::Host;
use crate::sys;
use crate::wire::{self, Frame};
use exchange::{Exchange, Fate};
use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

/// Connections that wait for their next request.
const IDLE_MAX: usize = 16;
/// An idle connection that is older may be about to be closed by the server, all the more after a freeze, in which its timers went on: Node's
/// and most others' wait 5 s.
const IDLE_AGE_MAX: Duration = Duration::from_secs(1);
/// A connection that is still open so long after an answer shows that the server means it: some close without having said so, and what crosses that
/// and must not be sent twice would be lost.
const PROVEN_AFTER: Duration = Duration::from_millis(100);
/// Who wakes so much later than it wanted to was frozen, and the server with it: it could close nothing in that time.
const OVERSLEPT: Duration = Duration::from_millis(50);
/// How long the first attempt waits for the next while the server is not up; each later one half as long again.
const RETRY: Duration = Duration::from_micros(500);
const RETRY_MAX: Duration = Duration::from_millis(25);

/// How long a program may take before the log says that it listens elsewhere.
const OTHER_PORT_AFTER: Duration = Duration::from_secs(1);

/// A process that ends closes its connections first; its end shows some ms later.
const END_SHOWS_IN: Duration = Duration::from_millis(30);

enum Readiness {
    /// Until `Instant` no further attempt is made.
    Trying {
        attempt: Option<Connection>,
        /// The attempt's: what listens on "localhost" may be on ::1 alone.
        is_v6: bool,
        at: Instant,
        pause: Duration,
    },
    Ready,
}

pub struct Server {
    port: u16,
    /// Where it was found.
    is_v6: bool,
    /// When it is looked, once, where else its program listens.
    elsewhere_at: Option<Instant>,
    readiness: Readiness,
    idle: Vec<Connection>,
    /// It has shown that it leaves connections open.
    keeps_open: bool,
    /// When it is looked whether it does.
    look_at: Option<Instant>,
    exchanges: BTreeMap<u32, Exchange>,
    azure: Option<Azure>,
    /// Streams whose server hung up. If that was its end, the host is to hear of the end instead.
    suspects: Vec<(Instant, u32, Failure)>,
}

impl Server {
    pub fn new(port: u16) -> Server {
        let readiness = Readiness::Trying { attempt: None, is_v6: false, at: Instant::now(), pause: RETRY };
        Server {
            port,
            is_v6: false,
            elsewhere_at: Some(Instant::now() + OTHER_PORT_AFTER),
            readiness,
            idle: Vec::new(),
            keeps_open: false,
            look_at: None,
            exchanges: BTreeMap::new(),
            suspects: Vec::new(),
            azure: None,
        }
    }

    /// Invocations are put into the words of Azure Functions.
    pub fn translated_by(self, azure: Azure) -> Server {
        Server { azure: Some(azure), ..self }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.readiness, Readiness::Ready)
    }

    /// What an earlier host wanted is no matter any more; true when something of it ran.
    pub fn forget_all(&mut self) -> bool {
        let is_coming = self.azure.as_mut().is_some_and(Azure::forget_all);
        self.suspects.clear();
        !std::mem::take(&mut self.exchanges).is_empty() || is_coming
    }

    /// When the server is looked for again.
    pub fn wake_at(&self) -> Option<Instant> {
        match &self.readiness {
            Readiness::Trying { attempt: None, at, .. } => Some(*at),
            _ => self.suspects.iter().map(|(at, ..)| *at).chain(self.look_at).min(),
        }
    }

    /// One entry for the attempt, then the idle connections, then the exchanges in the order of their streams.
    pub fn interests(&self, host: &Host, polled: &mut Vec<libc::pollfd>) {
        let attempt = match &self.readiness {
            Readiness::Trying { attempt: Some(connection), .. } => connection.fd(),
            _ => -1,
        };
        polled.push(libc::pollfd { fd: attempt, events: libc::POLLOUT, revents: 0 });
        polled.extend(self.idle.iter().map(|connection| connection.interest(true)));
        polled.extend(self.exchanges.iter().map(|(stream, exchange)| exchange.interest(host.has_room(*stream))));
    }

    /// Does what poll said.
    pub fn turn(&mut self, polled: &[libc::pollfd], host: &mut Host) {
        // Frames came in between: each finds its entry by its descriptor, and one that another had before only looks in vain.
        let events_of = |fd: RawFd| polled.iter().find(|entry| entry.fd == fd).map_or(0, |entry| entry.revents);
        // Nothing is said on an idle connection but its end.
        self.idle.retain(|connection| events_of(connection.fd()) == 0);
        let streams: Vec<u32> = self.exchanges.keys().copied().collect();
        for stream in streams {
            let fd = self
                .exchanges
                .get(&stream)
                .and_then(|exchange| exchange.connection.as_ref())
                .map_or(-1, Connection::fd);
            self.go_on(stream, if fd < 0 { 0 } else { events_of(fd) }, host);
        }
        self.look_for_server(polled[0].revents);
        self.look_elsewhere(host);
        let now = Instant::now();
        self.look_what_stays_open(now);
        for (_, stream, failure) in self.suspects.iter().filter(|(at, ..)| *at <= now) {
            host.fail(*stream, failure.clone());
        }
        self.suspects.retain(|(at, ..)| *at > now);
    }

    /// Gives the server what waited for it.
    pub fn begin_all(&mut self, host: &mut Host) {
        let streams: Vec<u32> =
            self.exchanges.iter().filter(|(_, exchange)| exchange.is_waiting()).map(|(stream, _)| *stream).collect();
        streams.into_iter().for_each(|stream| self.begin(stream, host));
    }

    pub fn take(&mut self, frame: Frame, host: &mut Host) {
        match &mut self.azure {
            Some(azure) => azure.translate(frame, host).into_iter().for_each(|frame| self.take_plain(frame, host)),
            None => self.take_plain(frame, host),
        }
    }

    fn take_plain(&mut self, frame: Frame, host: &mut Host) {
        let stream = frame.stream;
        match frame.kind {
            wire::INVOKE => {
                host.open(stream);
                let message = super::wire_json(&frame.payload);
                match Exchange::new(stream, self.port, &message) {
                    Ok(exchange) => {
                        let reply = self.azure.as_ref().and_then(Azure::reply);
                        self.exchanges.insert(stream, exchange.translated_by(reply));
                        self.begin(stream, host);
                    }
                    Err(failure) => host.fail(stream, failure),
                }
            }
            wire::DATA | wire::END => {
                if let Some(exchange) = self.exchanges.get_mut(&stream) {
                    let is_last = frame.kind == wire::END || frame.flags & wire::FIN != 0;
                    exchange.push(&frame.payload, is_last);
                    self.go_on(stream, 0, host);
                }
            }
            wire::CREDIT => {
                host.credit(&frame);
                self.go_on(stream, 0, host);
            }
            // The connection's end tells the server.
            wire::CANCEL if self.exchanges.remove(&stream).is_some() => {
                host.fail(stream, Failure::new("Hearth.Cancelled", "The caller wanted no more of it."));
            }
            _ => {}
        }
    }

    /// Over a connection that is there, or a new one. What comes before the server is up waits for it.
    fn begin(&mut self, stream: u32, host: &mut Host) {
        if !self.is_ready() {
            return;
        }
        let Some(mut exchange) = self.exchanges.remove(&stream) else { return };
        exchange.connection = self.idle_connection(exchange.may_repeat()).or_else(|| self.connect(&mut exchange));
        self.exchanges.insert(stream, exchange);
        self.go_on(stream, 0, host);
    }

    fn go_on(&mut self, stream: u32, events: i16, host: &mut Host) {
        if !self.is_ready() {
            return;
        }
        let Some(exchange) = self.exchanges.get_mut(&stream) else { return };
        match exchange.turn(events, host) {
            Fate::Lives => {}
            Fate::Done => {
                let connection = self.exchanges.remove(&stream).and_then(|exchange| exchange.connection);
                if let Some(mut connection) = connection.filter(|_| self.idle.len() < IDLE_MAX) {
                    connection.has_answered = true;
                    if !self.keeps_open && self.look_at.is_none() {
                        self.look_at = Some(Instant::now() + PROVEN_AFTER);
                    }
                    self.idle.push(connection);
                }
            }
            Fate::Again => {
                // The server had closed the connection it was sent on, before it said a word.
                let Some(mut exchange) = self.exchanges.remove(&stream) else { return };
                exchange.connection = self.connect(&mut exchange);
                exchange.send_again();
                self.exchanges.insert(stream, exchange);
                // Nothing else would send it: no event comes of a connection on which nothing waits. This comes no deeper, for the connection is fresh.
                self.go_on(stream, 0, host);
            }
            Fate::Failed(failure) => {
                self.exchanges.remove(&stream);
                if failure.error_type == "HttpServer.BadResponse" {
                    host.fail(stream, failure);
                } else {
                    self.suspects.push((Instant::now() + END_SHOWS_IN, stream, failure));
                }
            }
        }
    }

    /// The one used last that the server has not closed, nor may be about to.
    fn idle_connection(&mut self, may_repeat: bool) -> Option<Connection> {
        let is_safe = self.keeps_open || may_repeat;
        while let Some(at) = self.idle.iter().rposition(|connection| is_safe || !connection.has_answered) {
            let connection = self.idle.remove(at);
            if connection.used_at.elapsed() < IDLE_AGE_MAX && is_open(&connection) {
                return Some(connection);
            }
        }
        None
    }

    /// Once it has shown that it leaves connections open, it is not looked any more.
    fn look_what_stays_open(&mut self, now: Instant) {
        let Some(due) = self.look_at.filter(|due| *due <= now) else { return };
        let mut answered = self.idle.iter().filter(|connection| connection.has_answered).peekable();
        let is_there = answered.peek().is_some();
        let was_awake = now - due < OVERSLEPT;
        self.keeps_open = was_awake && answered.any(|each| now - each.used_at >= PROVEN_AFTER && is_open(each));
        self.look_at = (is_there && !self.keeps_open).then_some(now + PROVEN_AFTER);
    }

    /// None makes the exchange fail at its next turn.
    fn connect(&self, exchange: &mut Exchange) -> Option<Connection> {
        exchange.is_fresh = true;
        begin_connection(self.port, self.is_v6)
    }

    /// The most common reason of a start that comes to its limit: a port of the program's own choice.
    fn look_elsewhere(&mut self, host: &mut Host) {
        if self.is_ready() || self.elsewhere_at.map_or(true, |at| Instant::now() < at) {
            return;
        }
        let ports: Vec<String> = listening::ports().iter().map(u16::to_string).collect();
        if ports.is_empty() {
            self.elsewhere_at = Some(Instant::now() + OTHER_PORT_AFTER);
            return;
        }
        self.elsewhere_at = None;
        let ports = ports.join(", ");
        let fix = match self.azure {
            Some(_) => "have it take $FUNCTIONS_CUSTOMHANDLER_PORT",
            None => "set its port (--port), or have it take $PORT",
        };
        let line = format!("Nothing listens on port {}. The program listens on {ports}: {fix}.", self.port);
        host.log(0, format!("[hearth] {line}"));
    }

    fn look_for_server(&mut self, events: i16) {
        let Readiness::Trying { attempt, is_v6, at, pause } = &mut self.readiness else { return };
        if attempt.is_some() && events == 0 || attempt.is_none() && Instant::now() < *at {
            return;
        }
        if let Some(connection) = attempt.take() {
            if events & (libc::POLLERR | libc::POLLHUP) == 0 {
                self.idle.push(connection);
                self.is_v6 = *is_v6;
                self.readiness = Readiness::Ready;
                return;
            }
            if !*is_v6 {
                *is_v6 = true;
                *attempt = begin_connection(self.port, true);
            }
        } else {
            *is_v6 = false;
            *attempt = begin_connection(self.port, false);
        }
        if attempt.is_none() {
            *at = Instant::now() + *pause;
            *pause = (*pause * 3 / 2).min(RETRY_MAX);
        }
    }
}

fn begin_connection(port: u16, is_v6: bool) -> Option<Connection> {
    sys::connect_loopback(port, is_v6).ok().map(Connection::new)
}

fn is_open(connection: &Connection) -> bool {
    !sys::has_ended_or_data(connection.fd())
}
