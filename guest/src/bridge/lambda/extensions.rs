//! Lambda's Extensions API, as much of it as programs beside a runtime need: to be there, to hear of invocations and of the end.

use super::client::Answer;
use super::inbox::Event;
use crate::bridge::bind::Bind;
use crate::bridge::identity;
use serde_json::{json, Value};
use std::collections::VecDeque;

const EXTENSIONS_MAX: usize = 10;

struct Extension {
    id: String,
    name: String,
    wants_invoke: bool,
    wants_shutdown: bool,
    /// Told when it asks next.
    events: VecDeque<String>,
    /// It has asked for its next event: nothing of the last is left to do.
    is_waiting: bool,
}

pub struct Extensions {
    all: Vec<Extension>,
    /// Programs that have to register before anything begins, by the names of their files, under which they do.
    started: Vec<String>,
}

impl Extensions {
    pub fn new(started: Vec<String>) -> Extensions {
        Extensions { all: Vec::new(), started }
    }

    pub fn register(&mut self, name: Option<&str>, body: &[u8], bound: &Bind, is_closed: bool) -> Answer {
        let Some(name) = name.filter(|name| (1..=256).contains(&name.len())) else {
            return refuse(
                "Extension.InvalidExtensionName",
                "The header Lambda-Extension-Name is missing or too long.",
            );
        };
        if is_closed {
            return refuse("Extension.RegistrationClosed", "Extensions register before the first invocation.");
        }
        if self.all.len() >= EXTENSIONS_MAX {
            return refuse("Extension.TooManyExtensions", "There may be at most 10 extensions.");
        }
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            return refuse("Extension.InvalidRequestFormat", "The body is not JSON.");
        };
        let events: Vec<&str> = value["events"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if events.iter().any(|event| !matches!(*event, "INVOKE" | "SHUTDOWN")) {
            return refuse("Extension.InvalidEventType", "Events are INVOKE and SHUTDOWN.");
        }
        let id = identity::uuid();
        self.all.push(Extension {
            id: id.clone(),
            name: name.to_string(),
            wants_invoke: events.contains(&"INVOKE"),
            wants_shutdown: events.contains(&"SHUTDOWN"),
            events: VecDeque::new(),
            is_waiting: false,
        });
        let body = json!({
            "functionName": bound.function, "functionVersion": bound.version, "handler": bound.handler,
            "accountId": bound.text("accountId"),
        });
        (200, vec![("Lambda-Extension-Identifier".to_string(), id)], body.to_string())
    }

    /// It asks for its next event: what waits for it, or Err with the refusal. Ok(None): there is nothing yet.
    pub fn next(&mut self, id: Option<&str>) -> Result<Option<Answer>, Answer> {
        let extension = self.find(id)?;
        extension.is_waiting = extension.events.is_empty();
        Ok(extension
            .events
            .pop_front()
            .map(|event| (200, vec![("Lambda-Extension-Event-Identifier".to_string(), identity::uuid())], event)))
    }

    pub fn invoke(&mut self, Event { id, deadline_ms, trace, .. }: &Event, arn: &str) {
        if !self.all.iter().any(|extension| extension.wants_invoke) {
            return;
        }
        let event = json!({
            "eventType": "INVOKE", "deadlineMs": deadline_ms, "requestId": id, "invokedFunctionArn": arn,
            "tracing": { "type": "X-Amzn-Trace-Id", "value": trace },
        })
        .to_string();
        for extension in self.all.iter_mut().filter(|extension| extension.wants_invoke) {
            extension.is_waiting = false;
            extension.events.push_back(event.clone());
        }
    }

    pub fn shut_down(&mut self, deadline_ms: u64) {
        let event =
            json!({ "eventType": "SHUTDOWN", "shutdownReason": "spindown", "deadlineMs": deadline_ms }).to_string();
        for extension in self.all.iter_mut().filter(|extension| extension.wants_shutdown) {
            extension.events.push_back(event.clone());
        }
    }

    /// Of one that is registered.
    pub fn name_of(&mut self, id: Option<&str>) -> Result<String, Answer> {
        self.find(id).map(|extension| extension.name.clone())
    }

    /// All that were started have registered, and all that registered ask for their first event.
    pub fn are_up(&self) -> bool {
        self.all.len() >= self.started.len() && self.all.iter().all(|extension| extension.is_waiting)
    }

    /// What `are_up` waits for, as the end of a sentence.
    pub fn awaited(&self) -> String {
        let is_known = |file: &&String| self.all.iter().any(|extension| extension.name == **file);
        let absent = self.started.iter().filter(|file| !is_known(file)).map(|file| (file, "has not registered"));
        let silent = self.all.iter().filter(|extension| !extension.is_waiting);
        let silent = silent.map(|extension| (&extension.name, "has not asked for its first event"));
        let all: Vec<String> = absent.chain(silent).map(|(name, lack)| format!("\"{name}\" {lack}")).collect();
        all.join(", ")
    }

    fn find(&mut self, id: Option<&str>) -> Result<&mut Extension, Answer> {
        let id = id.ok_or_else(|| {
            refuse("Extension.MissingExtensionIdentifier", "The header Lambda-Extension-Identifier is missing.")
        })?;
        if !is_uuid(id) {
            return Err(refuse("Extension.InvalidExtensionIdentifier", "The extension's identifier is not a UUID."));
        }
        let found = self.all.iter_mut().find(|extension| extension.id == id);
        found.ok_or_else(|| refuse("Extension.UnknownExtensionIdentifier", "No extension has this identifier."))
    }

    /// Work of an invocation goes on after its result.
    pub fn are_busy(&self) -> bool {
        self.all.iter().any(|extension| extension.wants_invoke && !extension.is_waiting)
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

fn refuse(error_type: &str, message: &str) -> Answer {
    (403, Vec::new(), json!({ "errorType": error_type, "errorMessage": message }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invocation_is_told_with_its_trace_and_who_is_awaited_is_named() {
        let bound = json!({ "function": "f", "version": "1", "handler": "h", "memoryMib": 128, "taskRoot": "/" });
        let bound = Bind::parse(bound.to_string().as_bytes()).map_err(|failure| failure.message).unwrap();
        let mut extensions = Extensions::new(vec!["spy".to_string(), "late".to_string()]);
        let (_, headers, _) = extensions.register(Some("spy"), br#"{"events":["INVOKE"]}"#, &bound, false);
        let trace = "Root=1-0-0;Parent=0;Sampled=0".to_string();
        extensions.invoke(&Event { stream: 2, id: "i".to_string(), deadline_ms: 7, body: Vec::new(), trace }, "arn");
        let awaited = "\"late\" has not registered, \"spy\" has not asked for its first event";
        assert_eq!((extensions.are_up(), extensions.awaited().as_str()), (false, awaited));
        let told = extensions.next(Some(&headers[0].1)).ok().flatten().unwrap();
        let event = json!({
            "eventType": "INVOKE", "deadlineMs": 7, "requestId": "i", "invokedFunctionArn": "arn",
            "tracing": { "type": "X-Amzn-Trace-Id", "value": "Root=1-0-0;Parent=0;Sampled=0" },
        });
        assert_eq!(told.2, event.to_string());
    }
}
