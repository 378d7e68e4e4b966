//! Lambda's Runtime API on 127.0.0.1:9001: the program asks for invocations and posts results. Who asks is known by the listener, so one
//! sandbox is one function.

use super::bind::{Bind, RUNTIME_API};
use super::connection::Connection;
use super::extensions::Extensions;
use super::failure::Failure;
use super::host::Host;
use super::http::{Body, Framing, Head};
use super::lambda_client::{accepted, error, not_found, Answer, Client, Receiving, Route, State};
use super::lambda_reply::{self, Reply};
use crate::sys;
use crate::wire::{self, Frame};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const CONNECTIONS_MAX: usize = 128;
/// Errors, registrations and the like.
const SMALL_BYTES_MAX: usize = 1024 * 1024;
const EVENT_BYTES_MAX: usize = 6 * 1024 * 1024 + 100;

const RUNTIME: &str = "/2018-06-01/runtime/";
const EXTENSION: &str = "/2020-01-01/extension/";

struct Event {
    stream: u32,
    id: String,
    deadline_ms: u64,
    traceparent: Option<String>,
    body: Vec<u8>,
}

pub struct Lambda {
    listener: OwnedFd,
    clients: Vec<Client>,
    /// Whose body is not whole yet, by stream.
    coming: BTreeMap<u32, Event>,
    events: VecDeque<Event>,
    /// Given to the program: id to stream.
    running: BTreeMap<String, u32>,
    /// Answered, while extensions still work on them.
    lingering: Vec<u32>,
    extensions: Extensions,
    bound: Bind,
    has_asked: bool,
    is_ready: bool,
    pub has_failed_to_start: bool,
}

impl Lambda {
    /// `extensions`: programs that are started beside the user's own.
    pub fn listen(bound: &Bind, extensions: usize) -> Result<Lambda, Failure> {
        let listener = sys::listen_loopback(9001).map_err(|error| {
            Failure::new("Runtime.StartFailed", &format!("Cannot listen on {RUNTIME_API}: {error}."))
        })?;
        Ok(Lambda {
            listener,
            clients: Vec::new(),
            coming: BTreeMap::new(),
            events: VecDeque::new(),
            running: BTreeMap::new(),
            lingering: Vec::new(),
            extensions: Extensions::new(extensions),
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
        let is_busy = !self.running.is_empty() || !self.events.is_empty() || !self.coming.is_empty();
        self.coming.clear();
        self.events.clear();
        self.running.clear();
        self.lingering.clear();
        self.clients.retain(|client| !matches!(client.state, State::Receiving(_)));
        is_busy
    }

    pub fn interests(&self, host: &Host, polled: &mut Vec<libc::pollfd>) {
        let may_accept = self.clients.len() < CONNECTIONS_MAX;
        polled.push(super::entry(&self.listener, if may_accept { libc::POLLIN } else { 0 }));
        for client in &self.clients {
            let wants_more = match &client.state {
                State::Receiving(receiving) => match &receiving.route {
                    Route::Response(reply) => host.has_room(reply.stream()),
                    _ => true,
                },
                _ => true,
            };
            polled.push(client.connection.interest(wants_more));
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
    }

    /// Gives what is there to whoever waits for it.
    pub fn deliver(&mut self, host: &mut Host) {
        if !self.is_ready {
            return;
        }
        self.advance_all(host);
        // The next one waits for extensions that still work on the last.
        while !self.events.is_empty() && !self.extensions.are_busy() {
            let Some(client) = self.clients.iter().position(|client| matches!(client.state, State::Waiting)) else {
                break;
            };
            if let Some(event) = self.events.pop_front() {
                self.give(client, event);
            }
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
            wire::INVOKE => self.take_invoke(&frame, host),
            wire::DATA | wire::END => {
                let Some(event) = self.coming.get_mut(&frame.stream) else { return };
                event.body.extend_from_slice(&frame.payload);
                if event.body.len() > EVENT_BYTES_MAX {
                    self.coming.remove(&frame.stream);
                    let message = format!("The event is larger than {EVENT_BYTES_MAX} bytes.");
                    return host.fail(frame.stream, Failure::new("RequestEntityTooLarge", &message));
                }
                if frame.kind == wire::END || frame.flags & wire::FIN != 0 {
                    self.events.extend(self.coming.remove(&frame.stream));
                } else {
                    host.give_credit(frame.stream, frame.payload.len());
                }
            }
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

    fn take_invoke(&mut self, frame: &Frame, host: &mut Host) {
        let message = super::wire_json(&frame.payload);
        host.open(frame.stream);
        let event = Event {
            stream: frame.stream,
            id: message["id"].as_str().unwrap_or_default().to_string(),
            deadline_ms: message["deadlineMs"].as_f64().unwrap_or(0.0) as u64,
            traceparent: message["traceparent"].as_str().map(str::to_string),
            body: Vec::new(),
        };
        self.coming.insert(frame.stream, event);
    }

    /// One that the program does not have yet is over; the program itself cannot be told, it answers into the void.
    fn cancel(&mut self, stream: u32, host: &mut Host) {
        let is_waiting =
            self.coming.remove(&stream).is_some() || self.events.iter().any(|event| event.stream == stream);
        self.events.retain(|event| event.stream != stream);
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

    fn route(&mut self, at: usize, head: &Head, framing: Framing) {
        let owned = |name: &str| head.get(name).map(str::to_string);
        let (method, path) = (head.words[0].as_str(), head.words[1].split('?').next().unwrap_or(""));
        let (runtime, extension) = (path.strip_prefix(RUNTIME), path.strip_prefix(EXTENSION));
        let error_type = owned("lambda-runtime-function-error-type");
        let route = match (method, runtime, extension) {
            ("GET", Some("invocation/next"), _) => {
                self.has_asked = true;
                self.clients[at].state = State::Waiting;
                return;
            }
            ("GET", _, Some("event/next")) => return self.listen_for_event(at, head),
            ("GET", Some("restore/next"), _) => Route::Plain((200, Vec::new(), String::new())),
            ("POST", Some("init/error"), _) => Route::InitError { error_type },
            ("POST", Some("restore/error"), _) => Route::Plain(accepted()),
            ("POST", Some(rest), _) => match self.route_result(rest, head, framing) {
                Ok(route) => route,
                Err(answer) => Route::Plain(answer),
            },
            ("POST", _, Some("register")) => Route::Register { name: owned("lambda-extension-name") },
            ("POST", _, Some(what @ ("init/error" | "exit/error"))) => Route::ExtensionError {
                id: owned("lambda-extension-identifier"),
                error_type: owned("lambda-extension-function-error-type"),
                is_init: what == "init/error",
            },
            ("GET", ..) if path == "/2018-06-01/ping" => Route::Plain((200, Vec::new(), "pong".to_string())),
            ("PUT", ..) if matches!(path, "/2022-07-01/telemetry" | "/2020-08-15/logs") => {
                Route::Plain((202, Vec::new(), "OK".to_string()))
            }
            _ => Route::Plain(not_found()),
        };
        let client = &mut self.clients[at];
        if head.get("expect").is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue")) {
            client.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        client.state = State::Receiving(Box::new(Receiving { body: Body::new(framing), route, held: Vec::new() }));
    }

    /// `invocation/ID/response` and `invocation/ID/error`: the id is of an invocation that has no result yet.
    fn route_result(&mut self, path: &str, head: &Head, framing: Framing) -> Result<Route, Answer> {
        let parts: Vec<&str> = path.split('/').collect();
        let ["invocation", id, what @ ("response" | "error")] = parts.as_slice() else {
            return Err(not_found());
        };
        if !self.is_ready {
            return Err(error(403, "InvalidStateTransition", "State transition is not allowed"));
        }
        let mode = head.get("lambda-runtime-function-response-mode");
        if mode.is_some_and(|mode| !mode.eq_ignore_ascii_case("streaming") && !mode.eq_ignore_ascii_case("buffered")) {
            let message = "Invalid function response mode: it must be streaming.";
            return Err(error(400, "InvalidFunctionResponseMode", message));
        }
        let stream = self.running.remove(*id);
        let stream = stream.ok_or_else(|| error(400, "InvalidRequestID", "Invalid request ID"))?;
        if *what == "error" {
            let error_type = head.get("lambda-runtime-function-error-type").map(str::to_string);
            return Ok(Route::Error { stream, error_type });
        }
        Ok(Route::Response(Reply::new(stream, head, framing)))
    }

    fn listen_for_event(&mut self, at: usize, head: &Head) {
        let id = head.get("lambda-extension-identifier");
        let client = &mut self.clients[at];
        match self.extensions.next(id) {
            Ok(Some(answer)) | Err(answer) => client.answer(&answer),
            Ok(None) => client.state = State::Listening(id.unwrap_or_default().to_string()),
        }
    }

    fn read_body(&mut self, at: usize, host: &mut Host) -> bool {
        let client = &mut self.clients[at];
        let State::Receiving(receiving) = &mut client.state else { return false };
        if matches!(&receiving.route, Route::Response(reply) if !host.has_room(reply.stream())) {
            return false;
        }
        let mut content = Vec::new();
        let taken = receiving.body.take(&client.connection.input, &mut content);
        if let Ok(count) = taken {
            client.connection.input.drain(..count);
        }
        match &mut receiving.route {
            Route::Response(reply) => reply.push(host, &content),
            _ if receiving.held.len() + content.len() <= SMALL_BYTES_MAX => receiving.held.extend_from_slice(&content),
            _ => {}
        }
        if taken.is_ok() && !receiving.body.is_done() {
            return false;
        }
        let State::Receiving(receiving) = std::mem::replace(&mut client.state, State::Idle) else { return false };
        match taken {
            Ok(_) => self.complete(at, *receiving, host),
            Err(rule) => {
                client.break_off(rule);
                self.broken(*receiving, host);
            }
        }
        true
    }

    fn complete(&mut self, at: usize, Receiving { body, route, held }: Receiving, host: &mut Host) {
        let answer = match route {
            Route::Response(reply) => {
                self.settle(reply.stream(), host);
                match reply.finish(host, &body.trailers) {
                    true => error(413, "RequestEntityTooLarge", &lambda_reply::too_large().message),
                    false => accepted(),
                }
            }
            Route::Error { stream, error_type } => {
                self.settle(stream, host);
                host.fail(stream, Failure::from_body(&held, error_type.as_deref()));
                accepted()
            }
            Route::InitError { error_type } if !self.is_ready && !self.has_failed_to_start => {
                self.fail_to_start(&Failure::from_body(&held, error_type.as_deref()), host);
                accepted()
            }
            Route::InitError { .. } => error(403, "InvalidStateTransition", "State transition is not allowed"),
            Route::Register { name } => self.extensions.register(name.as_deref(), &held, &self.bound, self.is_ready),
            Route::ExtensionError { id, error_type, is_init } => {
                match (self.extensions.name_of(id.as_deref()), is_init && !self.is_ready) {
                    (Err(refusal), _) => refusal,
                    (Ok(name), true) => {
                        let reason = error_type.unwrap_or_else(|| "no type given".to_string());
                        let message = format!("The extension \"{name}\" could not start: {reason}.");
                        self.fail_to_start(&Failure::new("Extension.InitError", &message), host);
                        accepted()
                    }
                    (Ok(_), false) => accepted(),
                }
            }
            Route::Plain(answer) => answer,
        };
        // The caller's result first: the program's next step may take the processor.
        host.flush();
        self.clients[at].answer(&answer);
    }

    /// The connection ended, or said something impossible, before the body was whole.
    fn broken(&mut self, Receiving { route, held, .. }: Receiving, host: &mut Host) {
        match route {
            Route::Response(reply) => {
                self.settle(reply.stream(), host);
                reply.broken(host);
            }
            Route::Error { stream, error_type } => {
                self.settle(stream, host);
                host.fail(stream, Failure::from_body(&held, error_type.as_deref()));
            }
            _ => {}
        }
    }

    fn fail_to_start(&mut self, failure: &Failure, host: &mut Host) {
        self.has_failed_to_start = true;
        host.fail_start(failure);
    }

    /// Its result is there; what extensions still do for it goes on as `waitUntil` work.
    fn settle(&mut self, stream: u32, host: &mut Host) {
        if self.extensions.are_busy() && host.note_open_work(stream) {
            self.lingering.push(stream);
        }
    }

    fn give(&mut self, at: usize, event: Event) {
        let Event { stream, id, deadline_ms, traceparent, body } = event;
        let arn = self.bound.arn();
        let mut headers = vec![
            ("Lambda-Runtime-Aws-Request-Id".to_string(), id.clone()),
            ("Lambda-Runtime-Deadline-Ms".to_string(), deadline_ms.to_string()),
            ("Lambda-Runtime-Invoked-Function-Arn".to_string(), arn.clone()),
        ];
        if let Some(trace) = traceparent.as_deref().and_then(xray_trace) {
            headers.push(("Lambda-Runtime-Trace-Id".to_string(), trace));
        }
        self.extensions.invoke(&id, deadline_ms, &arn);
        self.running.insert(id, stream);
        self.clients[at].reply(200, &headers, &body);
    }
}

/// W3C's `00-<trace>-<parent>-<flags>` in X-Ray's form.
fn xray_trace(traceparent: &str) -> Option<String> {
    let parts: Vec<&str> = traceparent.split('-').collect();
    let [_, trace, parent, flags] = parts.as_slice() else { return None };
    let is_hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex(trace, 32) || !is_hex(parent, 16) {
        return None;
    }
    let sampled = if flags.ends_with('1') { 1 } else { 0 };
    Some(format!("Root=1-{}-{};Parent={parent};Sampled={sampled}", &trace[..8], &trace[8..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xray_trace_has_its_form_and_nothing_of_a_malformed_one() {
        let trace = xray_trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert_eq!(trace, "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1");
        assert_eq!(xray_trace("00-zzz-b7ad6b7169203331-01"), None);
        assert_eq!(xray_trace("00-0af7651916cd43dd8448eb211c80319c-b7\r\nX: y-01"), None);
    }
}
