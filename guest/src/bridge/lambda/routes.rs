//! Which request of the Runtime API or the Extensions API is which.

use super::client::{accepted, error, not_found, Answer, Receiving, Route, State};
use super::reply::Reply;
use super::Lambda;
use crate::bridge::http::{Body, Framing, Head};

const RUNTIME: &str = "/2018-06-01/runtime/";
const EXTENSION: &str = "/2020-01-01/extension/";

impl Lambda {
    /// The head of a request has come; what it asks for waits, or its body is to be received.
    pub(super) fn route(&mut self, at: usize, head: &Head, framing: Framing) {
        let path = head.words[1].split('?').next().unwrap_or("");
        let route = match (head.words[0].as_str(), path.strip_prefix(RUNTIME), path.strip_prefix(EXTENSION)) {
            ("GET", Some("invocation/next"), _) => {
                self.has_asked = true;
                self.clients[at].state = State::Waiting;
                return;
            }
            ("GET", _, Some("event/next")) => return self.listen_for_event(at, head),
            ("POST", Some(what), _) => self.route_of_runtime(what, head, framing),
            ("POST", _, Some(what)) => route_of_extension(what, head),
            ("GET", Some("restore/next"), _) => Route::Plain((200, Vec::new(), String::new())),
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

    fn listen_for_event(&mut self, at: usize, head: &Head) {
        let id = head.get("lambda-extension-identifier");
        let client = &mut self.clients[at];
        match self.extensions.next(id) {
            Ok(Some(answer)) | Err(answer) => client.answer(&answer),
            Ok(None) => client.state = State::Listening(id.unwrap_or_default().to_string()),
        }
    }

    fn route_of_runtime(&mut self, what: &str, head: &Head, framing: Framing) -> Route {
        match what {
            "init/error" => Route::InitError { error_type: function_error(head) },
            "restore/error" => Route::Plain(accepted()),
            _ => self.route_of_result(what, head, framing).unwrap_or_else(Route::Plain),
        }
    }

    /// `invocation/ID/response` and `invocation/ID/error`: the id is of an invocation that has no result yet.
    fn route_of_result(&mut self, path: &str, head: &Head, framing: Framing) -> Result<Route, Answer> {
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
        Ok(match *what {
            "error" => Route::Error { stream, error_type: function_error(head) },
            _ => Route::Response(Reply::new(stream, head, framing)),
        })
    }
}

fn route_of_extension(what: &str, head: &Head) -> Route {
    let owned = |name: &str| head.get(name).map(str::to_string);
    match what {
        "register" => Route::Register { name: owned("lambda-extension-name") },
        "init/error" | "exit/error" => Route::ExtensionError {
            id: owned("lambda-extension-identifier"),
            error_type: owned("lambda-extension-function-error-type"),
            is_init: what == "init/error",
        },
        _ => Route::Plain(not_found()),
    }
}

fn function_error(head: &Head) -> Option<String> {
    head.get("lambda-runtime-function-error-type").map(str::to_string)
}
