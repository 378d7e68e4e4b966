//! One connection to the Runtime API, and how it is answered.

use super::reply::Reply;
use crate::bridge::connection::Connection;
use crate::bridge::http::Body;
use serde_json::json;

/// Status, headers, body.
pub type Answer = (u16, Vec<(String, String)>, String);

pub enum State {
    /// A request's head is to come.
    Idle,
    /// In `next`.
    Waiting,
    /// An extension in `event/next`, by its identifier.
    Listening(String),
    Receiving(Box<Receiving>),
}

/// A request whose body comes.
pub struct Receiving {
    pub body: Body,
    pub route: Route,
    pub held: Vec<u8>,
}

pub enum Route {
    Response(Reply),
    Error {
        stream: u32,
        error_type: Option<String>,
    },
    InitError {
        error_type: Option<String>,
    },
    Register {
        name: Option<String>,
    },
    /// An extension says that it cannot go on.
    ExtensionError {
        id: Option<String>,
        error_type: Option<String>,
        is_init: bool,
    },
    /// Answered with this whatever comes.
    Plain(Answer),
}

pub struct Client {
    pub connection: Connection,
    pub state: State,
    pub keeps_alive: bool,
}

impl Client {
    pub fn new(connection: Connection) -> Client {
        Client { connection, state: State::Idle, keeps_alive: true }
    }

    /// Where what it sends goes to; None when that is nobody's result.
    pub fn stream(&self) -> Option<u32> {
        match &self.state {
            State::Receiving(receiving) => match &receiving.route {
                Route::Response(reply) => Some(reply.stream()),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn answer(&mut self, (status, headers, body): &Answer) {
        self.reply(*status, headers, body.as_bytes());
    }

    /// In one write. The content type is JSON to the letter: a Python client hands bytes to its handler for any other.
    pub fn reply(&mut self, status: u16, headers: &[(String, String)], body: &[u8]) {
        let mut text = String::with_capacity(512 + body.len());
        text.push_str(&format!("HTTP/1.1 {status} {}\r\nContent-Type: application/json\r\n", reason(status)));
        for (name, value) in headers {
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
            text.push_str("\r\n");
        }
        if !self.keeps_alive {
            text.push_str("Connection: close\r\n");
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body);
        self.state = State::Idle;
        self.connection.send(&bytes);
    }

    /// What it sent cannot be understood, nor what may follow.
    pub fn break_off(&mut self, rule: &str) {
        self.keeps_alive = false;
        self.connection.input.clear();
        self.answer(&error(400, "TruncatedHTTPRequest", &format!("The request cannot be read: {rule}.")));
    }

    /// Nothing is left to do on it.
    pub fn is_over(&self) -> bool {
        let Connection { is_broken, is_ended, .. } = self.connection;
        let is_unsent = self.connection.is_unsent();
        is_broken || is_ended && !is_unsent || !self.keeps_alive && matches!(self.state, State::Idle) && !is_unsent
    }
}

pub fn accepted() -> Answer {
    (202, Vec::new(), "{\"status\":\"OK\"}\n".to_string())
}

pub fn not_found() -> Answer {
    error(404, "NotFound", "The Runtime API has no such path.")
}

pub fn error(status: u16, error_type: &str, message: &str) -> Answer {
    (status, Vec::new(), json!({ "errorType": error_type, "errorMessage": message }).to_string())
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        413 => "Request Entity Too Large",
        _ => "Error",
    }
}
