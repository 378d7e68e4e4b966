//! One request to the program's server, and its response on the way to the host.

use super::connection::Connection;
use super::failure::Failure;
use super::host::Host;
use super::http::{self, Body, Framing, Head, Headers};
use crate::wire;
use serde_json::Value;

/// A request up to this size can be sent once more.
const REPLAY_BYTES_MAX: usize = 65_536;

/// What becomes of an exchange.
pub enum Fate {
    Lives,
    /// Its connection, where it still has one, can take the next request.
    Done,
    /// To be sent once more, over a new connection.
    Again,
    Failed(Failure),
}

enum Up {
    /// How the body is delimited shows with its first bytes.
    Undecided,
    Length(u64),
    Chunked,
    /// Both sides say what they like.
    Raw,
    Done,
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
    method: String,
    /// Without the end of its headers.
    head: Vec<u8>,
    up: Up,
    down: Down,
    /// What was sent, for a second time; None when that must not be.
    sent: Option<Vec<u8>>,
    unsent: Vec<u8>,
    /// An event, which its caller sent whole: so the server gets it with its length. None for a request that streams.
    whole: Option<Vec<u8>>,
    /// Taken from the host and not given back as credit.
    owed: usize,
    ends_when_sent: bool,
    keeps_alive: bool,
}

impl Exchange {
    /// Of INVOKE: the request that it holds, or `POST /` with the event.
    pub fn new(stream: u32, port: u16, message: &Value) -> Result<Exchange, Failure> {
        let http = &message["http"];
        let is_plain = http.is_null();
        let method = if is_plain { "POST" } else { http["method"].as_str().unwrap_or("") };
        let target = if is_plain { "/" } else { http["target"].as_str().unwrap_or("") };
        let headers = if is_plain { plain_headers(message) } else { request_headers(&http["headers"]) };
        let is_clean = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte > 0x20 && byte != 0x7f);
        if !is_clean(method)
            || !is_clean(target)
            || headers.iter().any(|(name, value)| !is_clean(name) || value.contains(['\r', '\n', '\0']))
        {
            return Err(Failure::new("HttpServer.BadRequest", "The request cannot be put into HTTP/1.1."));
        }
        let is_upgrade =
            http::has_token(http::get(&headers, "connection"), "upgrade") && http::get(&headers, "upgrade").is_some();
        let length = http::get(&headers, "content-length").and_then(|length| length.parse().ok());
        let mut text = format!("{method} {target} HTTP/1.1\r\n");
        if http::get(&headers, "host").is_none() {
            text.push_str(&format!("host: 127.0.0.1:{port}\r\n"));
        }
        for (name, value) in &headers {
            if !http::is_hop_by_hop(name) && !name.eq_ignore_ascii_case("expect") {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        if is_upgrade {
            text.push_str(&format!(
                "connection: upgrade\r\nupgrade: {}\r\n",
                http::get(&headers, "upgrade").unwrap_or("")
            ));
        }
        let mut head = Vec::with_capacity(text.len() + 64);
        http::push_latin1(&mut head, &text);
        let is_idempotent = matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE");
        let mut exchange = Exchange {
            connection: None,
            is_fresh: false,
            stream,
            port,
            method: method.to_string(),
            head,
            up: Up::Undecided,
            down: Down::Head,
            sent: (is_idempotent && !is_upgrade).then(Vec::new),
            unsent: Vec::new(),
            whole: is_plain.then(Vec::new),
            owed: 0,
            ends_when_sent: false,
            keeps_alive: false,
        };
        if is_upgrade {
            exchange.begin("", Up::Raw);
        } else if let Some(length) = length {
            exchange.begin("", Up::Length(length));
        }
        Ok(exchange)
    }

    /// It was not given to the server yet.
    pub fn is_waiting(&self) -> bool {
        self.connection.is_none() && !self.is_fresh
    }

    /// The next bytes of the event.
    pub fn push(&mut self, bytes: &[u8], is_last: bool) {
        let Some(mut whole) = self.whole.take() else { return self.pass(bytes, is_last) };
        self.owed += bytes.len();
        whole.extend_from_slice(bytes);
        if is_last {
            self.pass(&whole, true);
        } else {
            self.whole = Some(whole);
        }
    }

    fn pass(&mut self, bytes: &[u8], is_last: bool) {
        if matches!(self.up, Up::Undecided) {
            if !is_last {
                self.begin("transfer-encoding: chunked\r\n", Up::Chunked);
            } else if bytes.is_empty() && matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "DELETE") {
                self.begin("", Up::Length(0));
            } else {
                self.begin(&format!("content-length: {}\r\n", bytes.len()), Up::Length(bytes.len() as u64));
            }
        }
        self.owed += bytes.len();
        match &mut self.up {
            Up::Length(left) => {
                let count = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= count as u64;
                let is_short = is_last && *left > 0;
                self.queue(&bytes[..count]);
                if is_short {
                    // Less came than was said: the server must not take it for the whole.
                    self.connection = None;
                }
            }
            Up::Chunked => {
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
            Up::Raw => {
                self.queue(bytes);
                self.ends_when_sent = is_last;
            }
            Up::Undecided | Up::Done => {}
        }
        if is_last && !matches!(self.up, Up::Raw) {
            self.up = Up::Done;
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
        self.unsent = self.sent.take().unwrap_or_default();
    }

    /// Goes on as far as the server and the host allow.
    pub fn turn(&mut self, events: i16, host: &mut Host) -> Fate {
        let Some(connection) = &mut self.connection else {
            let message = format!("The server on port {} does not accept connections.", self.port);
            return Fate::Failed(Failure::new("HttpServer.Unreachable", &message));
        };
        if !self.unsent.is_empty() {
            connection.send(&std::mem::take(&mut self.unsent));
        } else if events & libc::POLLOUT != 0 {
            connection.flush();
        }
        if !connection.is_unsent() {
            if self.owed >= wire::CREDIT_STEP_BYTES && !matches!(self.up, Up::Done) {
                host.give_credit(self.stream, std::mem::take(&mut self.owed));
            }
            if std::mem::take(&mut self.ends_when_sent) {
                connection.end();
            }
        }
        if events & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0 && host.has_room(self.stream) {
            connection.read();
        }
        self.receive(host)
    }

    fn receive(&mut self, host: &mut Host) -> Fate {
        loop {
            let Some(connection) = &mut self.connection else { return Fate::Lives };
            match &mut self.down {
                Down::Head => match Head::parse(&connection.input) {
                    Err(rule) => return bad(rule),
                    Ok(Some((head, length))) => {
                        connection.input.drain(..length);
                        if let Some(fate) = self.take_head(&head, host) {
                            return fate;
                        }
                    }
                    Ok(None) if connection.is_ended || connection.is_broken => return self.closed_early(),
                    Ok(None) => return Fate::Lives,
                },
                Down::Body(body) => {
                    if !host.has_room(self.stream) {
                        return Fate::Lives;
                    }
                    let mut content = Vec::new();
                    match body.take(&connection.input, &mut content) {
                        Ok(taken) => drop(connection.input.drain(..taken)),
                        Err(rule) => return bad(rule),
                    }
                    let is_over = body.is_done() || connection.is_ended && connection.input.is_empty();
                    if !is_over {
                        host.data(self.stream, &content);
                        return if connection.is_broken { truncated() } else { Fate::Lives };
                    }
                    if !body.ends_here() {
                        return truncated();
                    }
                    host.finish_with(self.stream, &content);
                    return self.done();
                }
                Down::Raw => {
                    if !host.has_room(self.stream) {
                        return Fate::Lives;
                    }
                    let content = std::mem::take(&mut connection.input);
                    host.data(self.stream, &content);
                    if !connection.is_ended && !connection.is_broken {
                        return Fate::Lives;
                    }
                    host.end(self.stream);
                    self.connection = None;
                    return Fate::Done;
                }
            }
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
        self.sent = None;
        if status == 101 {
            if !matches!(self.up, Up::Raw) {
                return Some(bad("it switches protocols without being asked"));
            }
            self.down = Down::Raw;
        } else {
            let has_body = self.method != "HEAD" && status != 204 && status != 304;
            let framing = if has_body { head.framing(false) } else { Ok(Framing::Length(0)) };
            match framing {
                Ok(framing) => self.down = Down::Body(Body::new(framing)),
                Err(rule) => return Some(bad(rule)),
            }
            self.keeps_alive = head.keeps_alive(&head.words[0]) && framing != Ok(Framing::UntilClose);
        }
        host.head(self.stream, status, &response_headers(head, status)).err().map(Fate::Failed)
    }

    /// No answer came: over a kept connection that may have crossed the server's closing it.
    fn closed_early(&mut self) -> Fate {
        let has_spoken = self.connection.as_ref().is_some_and(|connection| !connection.input.is_empty());
        if !self.is_fresh && !has_spoken && self.sent.is_some() {
            return Fate::Again;
        }
        Fate::Failed(Failure::new("HttpServer.Closed", "The server closed the connection before it answered."))
    }

    fn done(&mut self) -> Fate {
        let is_clean = self.connection.as_ref().is_some_and(|connection| {
            connection.input.is_empty() && !connection.is_ended && !connection.is_broken && !connection.is_unsent()
        });
        if !(is_clean && self.keeps_alive && matches!(self.up, Up::Done)) {
            self.connection = None;
        }
        Fate::Done
    }

    fn begin(&mut self, framing: &str, up: Up) {
        let mut head = std::mem::take(&mut self.head);
        head.extend_from_slice(framing.as_bytes());
        head.extend_from_slice(b"\r\n");
        self.queue(&head);
        self.up = up;
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

fn plain_headers(message: &Value) -> Headers {
    let mut headers = Headers::new();
    for (name, field) in
        [("content-type", "contentType"), ("hearth-invocation-id", "id"), ("traceparent", "traceparent")]
    {
        if let Some(value) = message[field].as_str() {
            headers.push((name.to_string(), value.to_string()));
        }
    }
    headers
}

fn request_headers(value: &Value) -> Headers {
    let pairs = value.as_array().map(Vec::as_slice).unwrap_or_default();
    pairs.iter().filter_map(|pair| Some((pair[0].as_str()?.to_string(), pair[1].as_str()?.to_string()))).collect()
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
