//! One request to the program's server, and its response on the way to the host.

use super::request::Request;
use super::upload::Upload;
use crate::bridge::azure::AzureReply;
use crate::bridge::connection::Connection;
use crate::bridge::failure::Failure;
use crate::bridge::host::Host;
use crate::bridge::http::{self, Body, Framing, Head, Headers};
use serde_json::Value;

/// What becomes of an exchange.
pub enum Fate {
    Lives,
    /// Its connection, where it still has one, can take the next request.
    Done,
    /// To be sent once more, over a new connection.
    Again,
    Failed(Failure),
}

enum Down {
    Head,
    Body(Body),
    Raw,
}

pub struct Exchange {
    pub connection: Option<Connection>,
    /// The connection was made for it: what closes it is no coincidence.
    pub is_fresh: bool,
    stream: u32,
    port: u16,
    up: Upload,
    down: Down,
    /// Of a custom handler's answer, which is translated when it is whole.
    translated: Option<AzureReply>,
    keeps_alive: bool,
}

impl Exchange {
    /// Of INVOKE: the request that it holds, or `POST /` with the event.
    pub fn new(stream: u32, port: u16, message: &Value) -> Result<Exchange, Failure> {
        Ok(Exchange {
            connection: None,
            is_fresh: false,
            stream,
            port,
            up: Upload::new(Request::of(message, port)?),
            down: Down::Head,
            translated: None,
            keeps_alive: false,
        })
    }

    /// Its answer goes into `reply`, where there is one.
    pub fn translated_by(self, reply: Option<AzureReply>) -> Exchange {
        Exchange { translated: reply, ..self }
    }

    /// It was not given to the server yet.
    pub fn is_waiting(&self) -> bool {
        self.connection.is_none() && !self.is_fresh
    }

    /// What crosses the server's closing its connection can be sent once more.
    pub fn may_repeat(&self) -> bool {
        self.up.may_repeat()
    }

    /// The next bytes of the event.
    pub fn push(&mut self, bytes: &[u8], is_last: bool) {
        if !self.up.push(bytes, is_last) {
            self.connection = None;
        }
    }

    pub fn interest(&self, has_room: bool) -> libc::pollfd {
        match &self.connection {
            // While the host takes nothing, not even the connection's end matters: poll would tell of it again and again.
            Some(connection) if has_room || connection.is_unsent() => connection.interest(has_room),
            _ => libc::pollfd { fd: -1, events: 0, revents: 0 },
        }
    }

    /// Over a connection that was made for it.
    pub fn send_again(&mut self) {
        self.up.repeat();
    }

    /// Goes on as far as the server and the host allow.
    pub fn turn(&mut self, events: i16, host: &mut Host) -> Fate {
        let Some(connection) = &mut self.connection else {
            let message = format!("The server on port {} does not accept connections.", self.port);
            return Fate::Failed(Failure::new("HttpServer.Unreachable", &message));
        };
        let credit = self.up.turn(connection, events);
        if credit > 0 {
            host.give_credit(self.stream, credit);
        }
        if events & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0 && host.has_room(self.stream) {
            connection.read();
        }
        while self.connection.is_some() {
            let fate = match self.down {
                Down::Head => self.receive_head(host),
                Down::Body(_) if host.has_room(self.stream) => Some(self.receive_body(host)),
                Down::Raw if host.has_room(self.stream) => Some(self.receive_raw(host)),
                Down::Body(_) | Down::Raw => Some(Fate::Lives),
            };
            if let Some(fate) = fate {
                return fate;
            }
        }
        Fate::Lives
    }

    /// Some when there is nothing to do behind it now.
    fn receive_head(&mut self, host: &mut Host) -> Option<Fate> {
        let connection = self.connection.as_mut()?;
        match Head::parse(&connection.input) {
            Err(rule) => Some(bad(rule)),
            Ok(Some((head, length))) => {
                connection.input.drain(..length);
                self.take_head(&head, host)
            }
            Ok(None) if connection.is_ended || connection.is_broken => Some(self.closed_early()),
            Ok(None) => Some(Fate::Lives),
        }
    }

    /// Some when it decides what becomes of the exchange.
    fn take_head(&mut self, head: &Head, host: &mut Host) -> Option<Fate> {
        let status = match head.status() {
            Ok(status) => status,
            Err(rule) => return Some(bad(rule)),
        };
        // Interim answers are not ours to pass on.
        if status < 200 && status != 101 {
            return None;
        }
        self.up.settle();
        if status == 101 {
            if !self.up.is_raw() {
                return Some(bad("it switches protocols without being asked"));
            }
            self.down = Down::Raw;
        } else {
            let has_body = self.up.method() != "HEAD" && status != 204 && status != 304;
            let framing = if has_body { head.framing(false) } else { Ok(Framing::Length(0)) };
            match framing {
                Ok(framing) => self.down = Down::Body(Body::new(framing)),
                Err(rule) => return Some(bad(rule)),
            }
            self.keeps_alive = head.keeps_alive(&head.words[0]) && framing != Ok(Framing::UntilClose);
        }
        if let Some(reply) = &mut self.translated {
            reply.head(status);
            return None;
        }
        host.head(self.stream, status, &response_headers(head, status)).err().map(Fate::Failed)
    }

    fn receive_body(&mut self, host: &mut Host) -> Fate {
        let (Down::Body(body), Some(connection)) = (&mut self.down, &mut self.connection) else { return Fate::Lives };
        let mut content = Vec::new();
        match body.take(&connection.input, &mut content) {
            Ok(taken) => drop(connection.input.drain(..taken)),
            Err(rule) => return bad(rule),
        }
        let is_over = body.is_done() || connection.is_ended && connection.input.is_empty();
        if !is_over {
            let is_broken = connection.is_broken;
            match &mut self.translated {
                Some(reply) => reply.push(&content),
                None => host.data(self.stream, &content),
            }
            return if is_broken { truncated() } else { Fate::Lives };
        }
        if !body.ends_here() {
            return truncated();
        }
        match self.translated.take() {
            Some(mut reply) => {
                reply.push(&content);
                reply.release(self.stream, host);
            }
            None => host.finish_with(self.stream, &content),
        }
        self.done()
    }

    fn receive_raw(&mut self, host: &mut Host) -> Fate {
        let Some(connection) = &mut self.connection else { return Fate::Lives };
        let content = std::mem::take(&mut connection.input);
        host.data(self.stream, &content);
        if !connection.is_ended && !connection.is_broken {
            return Fate::Lives;
        }
        host.end(self.stream);
        self.connection = None;
        Fate::Done
    }

    /// No answer came: over a kept connection that may have crossed the server's closing it.
    fn closed_early(&mut self) -> Fate {
        let has_spoken = self.connection.as_ref().is_some_and(|connection| !connection.input.is_empty());
        if !self.is_fresh && !has_spoken && self.up.may_repeat() {
            return Fate::Again;
        }
        Fate::Failed(Failure::new("HttpServer.Closed", "The server closed the connection before it answered."))
    }

    fn done(&mut self) -> Fate {
        let is_clean = self.connection.as_ref().is_some_and(|connection| {
            connection.input.is_empty() && !connection.is_ended && !connection.is_broken && !connection.is_unsent()
        });
        if !(is_clean && self.keeps_alive && self.up.is_done()) {
            self.connection = None;
        }
        Fate::Done
    }
}

/// Those of the connection stay here, but an upgrade's own.
fn response_headers(head: &Head, status: u16) -> Headers {
    let keeps = |name: &str| !http::is_hop_by_hop(name) || status == 101 && !name.eq_ignore_ascii_case("keep-alive");
    head.headers.iter().filter(|(name, _)| keeps(name)).cloned().collect()
}

fn bad(rule: &str) -> Fate {
    Fate::Failed(Failure::new("HttpServer.BadResponse", &format!("The server's answer cannot be read: {rule}.")))
}

fn truncated() -> Fate {
    Fate::Failed(Failure::new("HttpServer.Truncated", "The server closed the connection within its answer."))
}
